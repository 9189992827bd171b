"""What a frame takes on the link to the host, for the report of a fit."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from device.bundle.reader import Bundle
from device.defence.quantised import Quantised
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.payload.base import PayloadForm, Sendable
from device.payload.forms.coefficients import Coefficients
from device.payload.forms.uint8 import Uint8

JPEG_QUALITY = 90
MEASURED = 50
"""Photographs, at most."""
ABOVE_ALL = 2.0
"""A threshold at which no frame leaves."""


class Traffic(NamedTuple):
    """Mean bytes of a frame that is sent, without the headers of HTTP.

    activation: 32-bit numbers. uint8: the same in 8 bits, packed. coefficients: of a frame that DefQ has quantised; None where
    the table does not allow this form. jpeg: the picture itself, at the network's size and quality 90.
    """

    activation: int
    uint8: float
    coefficients: float | None
    jpeg: float

    @property
    def smallest(self) -> float:
        """Of the forms of an activation."""
        return min(self.uint8, self.activation)


def measured_traffic(bundle: Bundle, pixels: np.ndarray) -> Traffic:
    """The bytes of photographs, uint8 (n, height, width, 3), in every form, if none of them left on the device.

    Args:
        bundle: with a tail.
    """
    engine, defence = OnnxRuntimeEngine(bundle, threads=1), Quantised(bundle, bundle.default_rad)
    frames, jpeg = [], []
    for each in pixels[:MEASURED]:
        treatment = defence.treat(each)
        result = engine.run(treatment.image, ABOVE_ALL, treatment.fused)
        assert result.activation is not None
        frames.append(Sendable(result.activation, each, bundle.table))
        content = cv2.imencode(".jpg", each[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        jpeg.append(len(content))
    coefficients = Coefficients(bundle)
    there = all(coefficients.tensors(each) is not None for each in frames)
    return Traffic(
        frames[0].activation.nbytes,
        _mean_bytes(Uint8(bundle), frames),
        _mean_bytes(coefficients, frames) if there else None,
        float(np.mean(jpeg)),
    )


def _mean_bytes(form: PayloadForm, frames: Sequence[Sendable]) -> float:
    sizes = []
    for each in frames:
        tensors = form.tensors(each) or {}
        sizes.append(len(form.deflated(b"".join(tensor.tobytes() for tensor in tensors.values()))))
    return float(np.mean(sizes))
