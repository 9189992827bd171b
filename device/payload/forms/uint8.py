"""uint8: a frame's activation as whole numbers between its lowest and its highest value.

Half of an activation is zeros in most networks. Huffman codes alone make such content smaller than zlib's search for matches
does, in half the time.
"""

import zlib
from typing import NamedTuple

import numpy as np

from device.bundle.reader import Bundle
from device.payload.base import PayloadForm, Sendable, Tensors, TensorTypes

SMALLEST_STEP = np.float32(1e-30)  # of an activation that is the same everywhere


class Quantised(NamedTuple):
    """An activation as whole numbers: activation = values x step + lowest."""

    values: np.ndarray
    """uint8 (n, ...)."""
    range: np.ndarray
    """float32 (n, 2): each frame's lowest value, and its step."""


class Uint8(PayloadForm):
    """The activation as uint8, with Huffman codes."""

    name = "uint8"
    bits_per_number = 8
    level, strategy = 1, zlib.Z_HUFFMAN_ONLY

    @classmethod
    def inputs(cls, bundle: Bundle) -> TensorTypes:
        return {"activation_uint8": ("UINT8", bundle.activation_shape), "activation_range": ("FP32", (2,))}

    def tensors(self, frame: Sendable) -> Tensors:
        packed = quantised(frame.activation, self.bundle.activation_levels)
        return {"activation_uint8": packed.values, "activation_range": packed.range}


def quantised(activation: np.ndarray, levels: int) -> Quantised:
    """Quantise an activation between its lowest and its highest value, as ``restored`` and from_uint8.onnx undo it.

    Args:
        activation: float32 (n, ...).
        levels: steps between the two, 1 to 255.
    """
    rows = activation.reshape(len(activation), -1)
    lowest = rows.min(axis=1, keepdims=True)
    step = np.maximum((rows.max(axis=1, keepdims=True) - lowest) / np.float32(levels), SMALLEST_STEP)
    values = rows - lowest
    values /= step
    values = np.rint(values, out=values).astype(np.uint8).reshape(activation.shape)
    return Quantised(values, np.concatenate([lowest, step], axis=1))


def restored(packed: Quantised) -> np.ndarray:
    """The activation that the host computes with, float32 (n, ...)."""
    broadcast = (len(packed.values),) + (1,) * (packed.values.ndim - 1)
    lowest, step = (packed.range[:, column].reshape(broadcast) for column in (0, 1))
    result: np.ndarray = packed.values.astype(np.float32) * step + lowest
    return result
