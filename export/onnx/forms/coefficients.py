"""The form coefficients: from the quantised DCT coefficients of a frame to its pixels, and from these to the activation.

The rebuilt pixels must be those of DefQ in NumPy, and the activation that of the head for these pixels, up to the rounding of
float32.
"""

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, helper

from device.defence.block_transform import BLOCK, block_dct_matrix
from device.defence.defq import ZIGZAG, DefQ
from device.errors import DataError
from device.payload.forms.coefficients import GREY, packed_coefficients, steps_of
from export.onnx.forms.base import FLOAT, INT8, UINT8, Case, Restoration, Step, part
from export.onnx.parity import compare_pixels, pixels_of, session
from export.onnx.parts import ExportedBlocks, GraphPart, joined, model

ROUNDING = 1e-4  # relative to the largest value of an activation: graphs add in different orders; found: 1e-6


def graph(exported: ExportedBlocks, split: int, input_shape: tuple[int, ...]) -> ModelProto:
    """coefficients int8 (n, 64, blocks), steps uint8 (n, 64) -> activation float32 (n, ...), by way of ``pixels``
    float32 (n, c, h, w) in [0, 1], those of DefQ, and the blocks 1..split without their exits."""
    channels, height, width = input_shape
    blocks = channels * -(-height // BLOCK) * -(-width // BLOCK)
    network = exported.giving(joined(*exported.blocks[:split]), split - 1, "activation")
    whole = joined(rebuilt_pixels(input_shape), network)
    made = helper.make_graph(
        whole.nodes,
        "from_coefficients",
        [
            helper.make_tensor_value_info("coefficients", INT8, ["batch", BLOCK * BLOCK, blocks]),
            helper.make_tensor_value_info("steps", UINT8, ["batch", BLOCK * BLOCK]),
        ],
        [helper.make_tensor_value_info("activation", FLOAT, ["batch", *exported.shapes[split - 1]])],
        whole.weights,
    )
    return model(made, "Before the tail, for frames that come as quantised DCT coefficients.")


def rebuilt_pixels(input_shape: tuple[int, ...]) -> GraphPart:
    """``coefficients`` and ``steps`` -> ``pixels``: undoes ``packed_coefficients`` of the form, then the second half
    of DefQ."""
    channels, height, width = input_shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    blocks = rows * columns
    weights: dict[str, np.ndarray] = {
        "order": np.argsort(ZIGZAG).astype(np.int64),
        "colours": np.array([-1, BLOCK * BLOCK, channels, blocks], np.int64),
        "channel": np.array(2, np.int64),
        "byte": np.array(256, np.float32),
        "lines": np.array([-1, channels * blocks, BLOCK * BLOCK], np.int64),
        "one": np.array([1], np.int64),
        "grey": np.array([GREY, *[0] * (BLOCK * BLOCK - 1)], np.float32).reshape(1, 1, -1),
        "inverse": block_dct_matrix(),
        "low": np.array(0, np.float32),
        "high": np.array(255, np.float32),
        "cells": np.array([-1, channels, rows, columns, BLOCK, BLOCK], np.int64),
        "padded": np.array([-1, channels, rows * BLOCK, columns * BLOCK], np.int64),
        "crop_start": np.array([0, 0], np.int64),
        "crop_end": np.array([height, width], np.int64),
        "crop_axes": np.array([2, 3], np.int64),
    }
    steps: list[Step] = [
        ("Gather", ["coefficients", "order"], "ordered", {"axis": 1}),
        ("Cast", ["ordered"], "float", {"to": FLOAT}),
        ("Reshape", ["float", "colours"], "differences", {}),
        ("CumSum", ["differences", "channel"], "sums", {}),
        ("Div", ["sums", "byte"], "turns_", {}),
        (
            "Round",
            ["turns_"],
            "turns",
            {},
        ),  # no coefficient is -128, so that none lies half way between two whole numbers
        ("Mul", ["turns", "byte"], "beyond", {}),
        ("Sub", ["sums", "beyond"], "levels_", {}),
        ("Transpose", ["levels_"], "levels__", {"perm": [0, 2, 3, 1]}),
        ("Reshape", ["levels__", "lines"], "shifted", {}),
        ("Cast", ["steps"], "steps_", {"to": FLOAT}),
        ("Unsqueeze", ["steps_", "one"], "table", {}),
        ("Div", ["grey", "table"], "shift_", {}),
        ("Round", ["shift_"], "shift", {}),
        ("Add", ["shifted", "shift"], "levels", {}),
        ("Mul", ["levels", "table"], "quantised", {}),
        ("MatMul", ["quantised", "inverse"], "back", {}),
        ("Round", ["back"], "rounded", {}),
        ("Clip", ["rounded", "low", "high"], "clipped", {}),
        ("Reshape", ["clipped", "cells"], "cells_", {}),
        ("Transpose", ["cells_"], "planes_", {"perm": [0, 1, 2, 4, 3, 5]}),
        ("Reshape", ["planes_", "padded"], "planes", {}),
        ("Slice", ["planes", "crop_start", "crop_end", "crop_axes"], "frame", {}),
        ("Div", ["frame", "high"], "pixels", {}),
    ]
    return part("rebuild/", steps, weights, {name: name for name in ("coefficients", "steps", "pixels")})


def restorations(case: Case) -> Iterator[Restoration]:
    """Rebuild the activation of each frame. Frames whose coefficients do not fit into the form are left out: the device sends
    them as uint8.

    Raises:
        DataError: pixels or activations are others than those of DefQ and of the head.
    """
    whole, rebuilt = session(case.graph), pixels_of(case.graph)
    defq, table = DefQ(case.steps), steps_of(np.asarray(case.steps, np.float32))
    pixels: list[np.ndarray] = []
    planes: list[np.ndarray] = []
    sent: list[np.ndarray] = []
    for index, frame in enumerate(case.frames):
        channels = frame.shape[2]
        coefficients = None if table is None else packed_coefficients(defq.levels(frame), channels, table)
        if coefficients is None:
            continue
        feed = {"coefficients": coefficients, "steps": table}
        sent.append(frame)
        planes.append(defq.planes(frame).copy())
        pixels.append(rebuilt.run(["pixels"], feed)[0][0])
        activation, back = case.activation(pixels[-1][None]), whole.run(None, feed)[0]
        bound = ROUNDING * float(np.abs(activation).max())
        worst = np.abs(back - activation).max()
        if not worst <= bound:
            raise DataError(
                f"coefficients: the activation of frame {index} of the {case.origin} differs from the head's by {worst:.3g}; "
                f"expected at most {bound:.3g}; report this with the model"
            )
        yield Restoration(activation, back, bound)
    compare_pixels("DefQ by way of coefficients", pixels, planes, sent, case.steps, case.origin)
