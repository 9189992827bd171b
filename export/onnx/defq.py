"""DefQ (device/defence/defq.py) as ONNX nodes, for heads that apply DefQ inside the graph."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from device.defence.block_transform import BLOCK, block_dct_matrix
from export.onnx.parts import GraphPart, constant


def defq_switch(table: np.ndarray, input_shape: tuple[int, ...]) -> GraphPart:
    """``image`` -> ``pixels``, with DefQ where the input ``defq`` is true, which it is by default."""
    shape = [1, *input_shape]
    body = defq_nodes(table, input_shape)
    quantise = helper.make_graph(
        body.nodes, "defq_on", [], [helper.make_tensor_value_info("quantised", TensorProto.FLOAT, shape)], body.weights
    )
    same = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["unchanged"])],
        "defq_off", [], [helper.make_tensor_value_info("unchanged", TensorProto.FLOAT, shape)],
    )  # fmt: skip
    switch = helper.make_node("If", ["defq"], ["pixels"], then_branch=quantise, else_branch=same)
    return GraphPart([switch], [constant("defq", np.array([True]))])


def defq_nodes(table: np.ndarray, input_shape: tuple[int, ...]) -> GraphPart:
    """DefQ as nodes: ``image`` float32 (1, c, h, w) in [0, 1] -> ``quantised``, the same shape."""
    channels, height, width = input_shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    matrix = block_dct_matrix()
    weights = {
        "scale": np.array(255, np.float32),
        "forward": np.ascontiguousarray(matrix.T),
        "inverse": matrix,
        "steps": np.asarray(table, np.float32).reshape(1, 64),
        "low": np.array(0, np.float32),
        "high": np.array(255, np.float32),
        "pads": np.array([0, 0, 0, 0, 0, 0, rows * BLOCK - height, columns * BLOCK - width], np.int64),
        "grid": np.array([channels, rows, BLOCK, columns, BLOCK], np.int64),
        "lines": np.array([channels * rows * columns, BLOCK * BLOCK], np.int64),
        "cells": np.array([channels, rows, columns, BLOCK, BLOCK], np.int64),
        "padded": np.array([1, channels, rows * BLOCK, columns * BLOCK], np.int64),
        "crop_start": np.array([0, 0], np.int64),
        "crop_end": np.array([height, width], np.int64),
        "crop_axes": np.array([2, 3], np.int64),
    }
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Mul", ["image", "scale"], {}),
        ("Round", ["0"], {}),
        ("Pad", ["1", "pads"], {"mode": "edge"}),
        ("Reshape", ["2", "grid"], {}),
        ("Transpose", ["3"], {"perm": [0, 1, 3, 2, 4]}),
        ("Reshape", ["4", "lines"], {}),
        ("MatMul", ["5", "forward"], {}),
        ("Div", ["6", "steps"], {}),
        ("Round", ["7"], {}),
        ("Mul", ["8", "steps"], {}),
        ("MatMul", ["9", "inverse"], {}),
        ("Round", ["10"], {}),
        ("Clip", ["11", "low", "high"], {}),
        ("Reshape", ["12", "cells"], {}),
        ("Transpose", ["13"], {"perm": [0, 1, 3, 2, 4]}),
        ("Reshape", ["14", "padded"], {}),
        ("Slice", ["15", "crop_start", "crop_end", "crop_axes"], {}),
        ("Div", ["16", "scale"], {}),
    ]
    nodes = []
    for index, (operator, inputs, attributes) in enumerate(steps):
        names = [each if each == "image" else f"defq/{each}" for each in inputs]
        output = "quantised" if index == len(steps) - 1 else f"defq/{index}"
        nodes.append(helper.make_node(operator, names, [output], **attributes))
    return GraphPart(nodes, [constant(f"defq/{name}", values) for name, values in weights.items()])
