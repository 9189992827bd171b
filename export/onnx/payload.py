"""Payload forms (device/payload/forms) as ONNX graphs: what a host runs before the tail."""

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from device.defence.block_transform import BLOCK, block_dct_matrix
from device.defence.defq import ZIGZAG
from device.payload.forms.coefficients import GREY, Coefficients
from device.payload.forms.uint8 import Uint8
from export.onnx.parts import ExportedBlocks, GraphPart, constant, joined, model

FLOAT, UINT8, INT8 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8
QUANTISED = ("activation_uint8", "activation_range")
Step = tuple[str, list[str], str, dict[str, Any]]  # operator, inputs, output, attributes


def form_graphs(exported: ExportedBlocks, split: int, input_shape: tuple[int, ...]) -> dict[str, ModelProto]:
    """The graph of each payload form but fp32, by its name in a bundle. A new form adds a line."""
    graphs = {
        Uint8.name: from_uint8(exported.shapes[split - 1]),
        Coefficients.name: from_coefficients(exported, split, input_shape),
    }
    return {f"from_{form}": graph for form, graph in graphs.items()}


def from_uint8(shape: tuple[int, ...]) -> ModelProto:
    """activation_uint8 uint8 (n, ...), activation_range float32 (n, 2) -> activation float32 (n, ...)."""
    ones = [1] * len(shape)
    steps: list[Step] = [
        ("Cast", [QUANTISED[0]], "values", {"to": FLOAT}),
        ("Split", [QUANTISED[1]], "columns", {"axis": 1}),
        ("Reshape", ["lowest_", "scalar"], "lowest", {}),
        ("Reshape", ["step_", "scalar"], "step", {}),
        ("Mul", ["values", "step"], "above", {}),
        ("Add", ["above", "lowest"], "activation", {}),
    ]
    weights = {"scalar": np.array([-1, *ones], np.int64)}
    part = _part("restore/", steps, weights, {name: name for name in (*QUANTISED, "activation")})
    part.nodes[1].output[:] = ["restore/lowest_", "restore/step_"]
    graph = helper.make_graph(
        part.nodes,
        "from_uint8",
        [
            helper.make_tensor_value_info(QUANTISED[0], UINT8, ["batch", *shape]),
            helper.make_tensor_value_info(QUANTISED[1], FLOAT, ["batch", 2]),
        ],
        [helper.make_tensor_value_info("activation", FLOAT, ["batch", *shape])],
        part.weights,
    )
    return model(graph, "Before the tail, for activations that come as uint8.")


def from_coefficients(exported: ExportedBlocks, split: int, input_shape: tuple[int, ...]) -> ModelProto:
    """coefficients int8 (n, 64, blocks), steps uint8 (n, 64) -> activation float32 (n, ...), by way of ``pixels``
    float32 (n, c, h, w) in [0, 1], those of DefQ, and the blocks 1..split without their exits."""
    channels, height, width = input_shape
    blocks = channels * -(-height // BLOCK) * -(-width // BLOCK)
    network = exported.giving(joined(*exported.blocks[:split]), split - 1, "activation")
    whole = joined(_pixels(input_shape), network)
    graph = helper.make_graph(
        whole.nodes,
        "from_coefficients",
        [
            helper.make_tensor_value_info("coefficients", INT8, ["batch", BLOCK * BLOCK, blocks]),
            helper.make_tensor_value_info("steps", UINT8, ["batch", BLOCK * BLOCK]),
        ],
        [helper.make_tensor_value_info("activation", FLOAT, ["batch", *exported.shapes[split - 1]])],
        whole.weights,
    )
    return model(graph, "Before the tail, for frames that come as quantised DCT coefficients.")


def _pixels(input_shape: tuple[int, ...]) -> GraphPart:
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
    return _part("rebuild/", steps, weights, {name: name for name in ("coefficients", "steps", "pixels")})


def _part(prefix: str, steps: list[Step], weights: dict[str, np.ndarray], kept: dict[str, str]) -> GraphPart:
    """Nodes whose tensors get ``prefix`` before their names. kept: name here -> name in the graph, for all others."""

    def named(name: str) -> str:
        return kept.get(name, prefix + name)

    nodes = [
        helper.make_node(operator, [named(each) for each in inputs], [named(output)], **attributes)
        for operator, inputs, output, attributes in steps
    ]
    return GraphPart(nodes, [constant(prefix + name, values) for name, values in weights.items()])
