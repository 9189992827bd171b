"""Engines for GPUs run ``head_flat.onnx``, the head without control flow, because ONNX Runtime keeps an ``If`` on the CPU.

The flat head computes all exits for every frame. The early-exit rule is in the graph, and its result is in the outputs.
"""

from typing import Tuple

import numpy as np

from device.bundle.onnx_file import without_initializer
from device.bundle.reader import Bundle
from device.defence.defq import DefQ
from device.engines.base import Engine, HeadResult
from device.errors import EngineError

# The largest difference of a confidence that different rounding explains; an engine that differs more is wrong. PyTorch in
# float16 changes the confidences of VGG-16 by 0.0018 at most on 1000 test images (x86-64), and one exit at threshold 0.8
TOLERANCE, TOLERANCE_FP16 = 0.005, 0.03


class FlatHeadEngine(Engine):
    """Base of the engines that run ``head_flat.onnx``. A subclass runs the graph in ``run_flat``.

    The flat head never contains DefQ. If the bundle's other head has DefQ fused, DefQ is applied here instead and gives the
    same pixels (device/defence/defq.py).
    """

    def __init__(self, bundle: Bundle) -> None:
        self._defq = DefQ(bundle.table) if bundle.defq_fused else None

    def run(self, image: np.ndarray, threshold: float, defq: bool = False) -> HeadResult:
        if defq and self._defq is not None:
            pixels = np.rint(image[0] * np.float32(255)).astype(np.uint8)
            planes = self._defq.planes(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            image = planes[None] / np.float32(255)
        return self.run_flat(image, threshold)

    def run_flat(self, image: np.ndarray, threshold: float) -> HeadResult:
        """Run the flat head; arguments and errors as of ``run``, without DefQ."""
        raise NotImplementedError


def read_flat_head(bundle: Bundle) -> bytes:
    """``head_flat.onnx``, with a threshold that has no default.

    TensorRT, also inside ONNX Runtime, takes an input with a default for a constant (``importInputs`` in onnx-tensorrt's
    ModelImporter.cpp, 8.0 to 10) and would ignore the threshold it is asked for. Bundles of earlier releases have such a default,
    and nobody can export them again without the network; so it is taken out here.

    Raises:
        BundleError: the graph was changed.
        EngineError: it is no ONNX file.
    """
    try:
        return without_initializer(bundle.read("head_flat"), "threshold")
    except ValueError as error:
        raise EngineError("found no ONNX graph in head_flat.onnx ({}); expected the file of the export; copy the whole bundle "
                          "again".format(error)) from error  # fmt: skip


def check_answers(engine: Engine, reference: Engine, input_shape: Tuple[int, ...], tolerance: float) -> None:
    """Compare an engine with the head on the CPU, on noise and on a black frame.

    Two things are checked because a GPU engine may get them wrong. It must obey the threshold. And of equal values ArgMax must
    take the first, as ONNX says, because so the graph finds the first confident exit; TensorRT replaces ArgMax by TopK, which
    does not promise this.

    Args:
        reference: the engine on the CPU.
        input_shape: (channels, height, width).
        tolerance: the largest difference of a confidence, and of an activation relative to its largest value.

    Raises:
        EngineError: the engine gives another answer.
    """
    noise = np.random.RandomState(0)
    images = [np.zeros((1, *input_shape), np.float32)]
    images += [noise.rand(1, *input_shape).astype(np.float32) for _ in range(3)]
    for image in images:
        beyond_first = reference.run(image, 0.0).confidence + 2 * tolerance
        for threshold in (0.0, 2.0, beyond_first):
            right = reference.run(image, threshold)
            around = (reference.run(image, threshold + off).exit for off in (-tolerance, tolerance))
            if any(exit_ != right.exit for exit_ in around):
                continue  # the threshold is so close to a confidence that rounding may decide
            found = engine.run(image, threshold)
            same = found.exit == right.exit and abs(found.confidence - right.confidence) <= tolerance
            if same and right.confidence > 0.5 + tolerance:  # no other label can be as confident
                same = found.label == right.label
            if same and right.activation is not None:
                same = found.activation is not None and found.activation.shape == right.activation.shape
                scale = max(1.0, float(np.abs(right.activation).max()))
                same = same and bool(np.abs(found.activation - right.activation).max() <= tolerance * scale)
            if not same:
                raise EngineError(
                    "found exit {}, label {} and confidence {:.4f} in {} where ONNX Runtime on the CPU has {}, {} and {:.4f}; "
                    "expected the same; use --engine onnxruntime and report this line".format(
                        found.exit, found.label, found.confidence, engine.name, right.exit, right.label, right.confidence)
                )  # fmt: skip
