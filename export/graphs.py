"""Head and tail of an SDN as ONNX graphs with the early-exit rule inside (DESIGN: one threshold, first confident exit).

Each block and classifier is exported by PyTorch on its own and becomes a *piece*; the graphs here are those pieces
joined by hand. Three graphs come out:

* ``nested_head``: batch 1, for ONNX Runtime. The blocks behind a cut sit in the else-branch of an ``If``, their weights
  with them as initialisers of that branch (as outer-scope weights they would escape Conv + ReLU fusion).
* ``flat_head``: any batch, no control flow, for TensorRT and others.
* ``tail``: any batch, one threshold a frame.

Opset 13 and IR 7: read by ONNX Runtime 1.10 to the newest and by TensorRT 8.2 to 10.
"""

import io
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import nn

from device.quantization import BLOCK, block_dct_matrix
from export.networks import SDN

OPSET = 13
IR_VERSION = 7
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


class Piece(NamedTuple):
    """Part of a graph: nodes in order and the weights they name."""

    nodes: list[NodeProto]
    weights: list[TensorProto]


def piece(module: nn.Module, example: torch.Tensor, source: str, target: str) -> Piece:
    """Export ``module`` as nodes that read tensor ``source`` and write tensor ``target``; batch norm is folded away.

    Args:
        module: one tensor in and one out; it is put into evaluation mode.
        example: float32 (1, ...) of the input's shape.
    """
    module.eval()  # the exporter puts a module back into the mode it found it in, its parts with it
    buffer: Any = io.BytesIO()
    with warnings.catch_warnings():  # the exporter without onnxscript and with opset 13 is the older one
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (example,), buffer, dynamo=False, opset_version=OPSET,
            input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        )  # fmt: skip
    graph = onnx.load_from_string(buffer.getvalue()).graph
    names = {"x": source, "y": target}
    weights = []
    for weight in graph.initializer:
        names[weight.name] = f"{target}/{weight.name}"
        weight.name = names[weight.name]
        weights.append(weight)
    nodes = []
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in names and node.output[0] != "y":
            names[node.output[0]] = names[node.input[0]]  # one weight under two names
            continue
        for output in node.output:
            names.setdefault(output, f"{target}/{output}")
        nodes.append(
            _renamed(node, [names.get(each, each) for each in node.input], [names[each] for each in node.output])
        )
    if not nodes:
        nodes = [helper.make_node("Identity", [source], [target])]
    return Piece(nodes, weights)


def _renamed(node: NodeProto, inputs: Sequence[str], outputs: Sequence[str]) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name = outputs[0]
    copy.ClearField("input")
    copy.ClearField("output")
    copy.input.extend(inputs)
    copy.output.extend(outputs)
    return copy


def constant(name: str, values: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def _joined(*pieces: Piece) -> Piece:
    return Piece(
        [node for each in pieces for node in each.nodes], [weight for each in pieces for weight in each.weights]
    )


class Stages(NamedTuple):
    """A network as pieces. Block i (from 0) reads ``features{i-1}`` (block 0: ``pixels``) and writes ``features{i}``;
    exit i reads that and writes ``softmax{i}`` (n, classes). The last exit is the final classifier, behind an empty
    block. shapes: of ``features{i}``, without the batch axis."""

    blocks: list[Piece]
    exits: list[Piece]
    shapes: list[tuple[int, ...]]

    def span(self, first: int, last: int) -> Piece:
        """Blocks and exits ``first`` to ``last``, inclusive."""
        return _joined(*(part for index in range(first, last + 1) for part in (self.blocks[index], self.exits[index])))


@torch.no_grad()
def stages(network: SDN) -> Stages:
    """Export every block and classifier of a network in evaluation mode."""
    network.eval()
    blocks, exits, shapes = [], [], []
    features, source = torch.zeros(1, *network.input_shape), "pixels"
    for index, (block, classifier) in enumerate(zip(network.blocks, network.ics, strict=True)):
        whole = nn.Sequential(network.stem, block) if index == 0 else block
        blocks.append(piece(whole, features, source, f"features{index}"))
        features, source = whole(features), f"features{index}"
        exits.append(piece(nn.Sequential(classifier, nn.Softmax(1)), features, source, f"softmax{index}"))
        shapes.append(tuple(features.shape[1:]))
    last = len(blocks)
    blocks.append(Piece([], []))
    exits.append(piece(nn.Sequential(network.end, nn.Softmax(1)), features, source, f"softmax{last}"))
    return Stages(blocks, exits, shapes)


def _best(index: int, prefix: str, keepdims: int = 0, label: bool = True) -> list[NodeProto]:
    """softmax{i} -> {prefix}confidence and {prefix}label, (n,) or with ``keepdims`` (n, 1)."""
    source = [f"softmax{index}"]
    nodes = [helper.make_node("ReduceMax", source, [f"{prefix}confidence"], axes=[1], keepdims=keepdims)]
    if label:
        nodes.append(helper.make_node("ArgMax", source, [f"{prefix}label"], axis=1, keepdims=keepdims))
    return nodes


def _first_confident(first: int, last: int, prefix: str, otherwise: int = 0) -> Piece:
    """Pick label, confidence and exit of the first confident of the exits ``first`` to ``last`` (0-based, inclusive).

    Reads ``threshold``; writes {prefix}label, {prefix}confidence, {prefix}exit, each (n,), and {prefix}stays, bool (n,).
    Where none is confident the answer is the last one's and the exit ``otherwise``.
    """
    numbers = constant(f"{prefix}numbers", np.array([*range(first + 1, last + 2), otherwise], np.int64))
    node = helper.make_node
    if first == last:
        nodes = [
            *_best(last, prefix),
            node("Less", [f"{prefix}confidence", "threshold"], [f"{prefix}stays"]),
            node("Cast", [f"{prefix}stays"], [f"{prefix}index"], to=INT64),
            node("Gather", [numbers.name, f"{prefix}index"], [f"{prefix}exit"]),
        ]
        return Piece(nodes, [numbers])
    each = [f"{prefix}{index}/" for index in range(first, last + 1)]
    columns = [*each, each[-1]]  # the last once more at the end: the answer of frames that do not leave
    flat = constant(f"{prefix}flat", np.array([-1], np.int64))
    pads = constant(f"{prefix}pads", np.array([0, 0, 0, 1], np.int64))
    one = constant(f"{prefix}one", np.array(1, np.float32))
    none = constant(f"{prefix}none", np.array([len(each)], np.int64))
    nodes = [
        *(part for index in range(first, last + 1) for part in _best(index, f"{prefix}{index}/", keepdims=1)),
        node("Concat", [f"{name}confidence" for name in each], [f"{prefix}confidences"], axis=1),
        node("Concat", [f"{name}confidence" for name in columns], [f"{prefix}confidences+"], axis=1),
        node("Concat", [f"{name}label" for name in columns], [f"{prefix}labels+"], axis=1),
        node("Less", [f"{prefix}confidences", "threshold"], [f"{prefix}unsure"]),
        node("Not", [f"{prefix}unsure"], [f"{prefix}sure"]),
        node("Cast", [f"{prefix}sure"], [f"{prefix}sure01"], to=FLOAT),
        node("Pad", [f"{prefix}sure01", pads.name, one.name], [f"{prefix}sure01+"]),
        node("ArgMax", [f"{prefix}sure01+"], [f"{prefix}column"], axis=1, keepdims=1),  # the first of equals
        node("GatherElements", [f"{prefix}confidences+", f"{prefix}column"], [f"{prefix}confidence_"], axis=1),
        node("GatherElements", [f"{prefix}labels+", f"{prefix}column"], [f"{prefix}label_"], axis=1),
        node("Reshape", [f"{prefix}confidence_", flat.name], [f"{prefix}confidence"]),
        node("Reshape", [f"{prefix}label_", flat.name], [f"{prefix}label"]),
        node("Reshape", [f"{prefix}column", flat.name], [f"{prefix}index"]),
        node("Gather", [numbers.name, f"{prefix}index"], [f"{prefix}exit"]),
        node("Equal", [f"{prefix}index", none.name], [f"{prefix}stays"]),
    ]
    return Piece(nodes, [numbers, flat, pads, one, none])


def _only_confidence(index: int, prefix: str) -> Piece:
    """What a cut behind one exit needs while frames stay: {prefix}confidence and {prefix}stays, no label yet."""
    less = helper.make_node("Less", [f"{prefix}confidence", "threshold"], [f"{prefix}stays"])
    return Piece([*_best(index, prefix, label=False), less], [])


OUTPUTS = ("label", "confidence", "exit", "activation")


def _output_infos(batch: str | None, activation: tuple[int, ...] | None, suffix: str = "") -> list[ValueInfoProto]:
    """What the outputs are. Of a nested head the batch axis is not named: activation has none or one."""
    first = 1 if batch is None else batch
    infos = [
        helper.make_tensor_value_info(f"label{suffix}", INT64, [first]),
        helper.make_tensor_value_info(f"confidence{suffix}", FLOAT, [first]),
        helper.make_tensor_value_info(f"exit{suffix}", INT64, [first]),
    ]
    if activation:
        infos.append(helper.make_tensor_value_info(f"activation{suffix}", FLOAT, [batch, *activation]))
    return infos


def _renaming(part: Piece, names: dict[str, str]) -> Piece:
    """The same nodes and weights with tensors renamed; ``a`` -> ``b`` also turns ``a/x`` into ``b/x``."""

    def rename(name: str) -> str:
        root, slash, rest = name.partition("/")
        return names.get(name) or (f"{names[root]}/{rest}" if slash and root in names else name)

    nodes = [
        _renamed(node, [rename(each) for each in node.input], [rename(each) for each in node.output])
        for node in part.nodes
    ]
    weights = []
    for weight in part.weights:
        copy = TensorProto()
        copy.CopyFrom(weight)
        copy.name = rename(weight.name)
        weights.append(copy)
    return Piece(nodes, weights)


def _answering(part: Piece, prefix: str, features: str | None = None, suffix: str = "") -> Piece:
    """Rename a scope's answer ({prefix}label, ...) and its ``features`` to the names of the outputs."""
    names = {f"{prefix}{name}": name + suffix for name in OUTPUTS[:3]}
    if features:
        names[features] = OUTPUTS[3] + suffix
    return _renaming(part, names)


def _model(graph: GraphProto, note: str) -> ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "sdn-edge-defq"
    model.doc_string = note
    onnx.checker.check_model(model)
    return model


def _threshold(value: float) -> tuple[ValueInfoProto, TensorProto]:
    """The input ``threshold`` float32 (1,) and its default."""
    info = helper.make_tensor_value_info("threshold", FLOAT, [1])
    return info, constant("threshold", np.array([value], np.float32))


def flat_head(parts: Stages, split: int, input_shape: tuple[int, ...], threshold: float) -> ModelProto:
    """Exits 1..split computed always, for any batch. Inputs: image float32 (n, c, h, w) in [0, 1], threshold (1,).
    Outputs: label, confidence, exit (0 = did not leave), each (n,), and activation float32 (n, ...)."""
    whole = _joined(parts.span(0, split - 1), _first_confident(0, split - 1, "head/"))
    whole = _renaming(_answering(whole, "head/", f"features{split - 1}"), {"pixels": "image"})
    info, default = _threshold(threshold)
    graph = helper.make_graph(
        whole.nodes,
        "flat_head",
        [helper.make_tensor_value_info("image", FLOAT, ["batch", *input_shape]), info],
        _output_infos("batch", parts.shapes[split - 1]),
        [default, *whole.weights],
    )
    return _model(graph, "Exits of the device, without control flow.")


def tail(parts: Stages, split: int) -> ModelProto:
    """Exits split+1 to the final classifier, for any batch. Inputs: activation float32 (n, ...), threshold (n, 1).
    Outputs: label, confidence, exit (1-based), each (n,)."""
    first, last = split, len(parts.exits) - 1
    if first == last:  # the final classifier alone: no threshold to ask
        number = constant("tail/number", np.array([last + 1], np.int64))
        zeros = helper.make_node("Sub", ["tail/label", "tail/label"], ["tail/zeros"])
        add = helper.make_node("Add", ["tail/zeros", number.name], ["tail/exit"])
        choice = Piece([*_best(last, "tail/"), zeros, add], [number])
    else:
        # the final classifier answers whatever its confidence: what "none is confident" gives, but for the number
        choice = _first_confident(first, last, "tail/", otherwise=last + 1)
    whole = _joined(parts.span(first, last), choice)
    whole = _renaming(_answering(whole, "tail/"), {f"features{first - 1}": "activation"})
    graph = helper.make_graph(
        whole.nodes,
        "tail",
        [
            helper.make_tensor_value_info("activation", FLOAT, ["batch", *parts.shapes[split - 1]]),
            helper.make_tensor_value_info("threshold", FLOAT, ["batch", 1]),
        ],
        _output_infos("batch", None),
        whole.weights,
    )
    return _model(graph, "Exits of the host and the final classifier.")


def nested_head(
    parts: Stages,
    split: int,
    input_shape: tuple[int, ...],
    threshold: float,
    cuts: Sequence[int] | None = None,
    again: bool = False,
    table: np.ndarray | None = None,
) -> ModelProto:
    """Exits 1..split for one frame; what lies behind a cut runs only when the frame has not left before it.

    Args:
        cuts: exits (1-based, below ``split``) with a cut behind them; all of them by default.
        again: compute block 1 once more behind a first cut at exit 1 instead of handing its features over. ONNX
            Runtime keeps them in a blocked layout, and turning all of them into the plain layout at the cut is paid
            even by frames that leave; a cheap first block costs no more than that.
        table: Q_def (8, 8), to apply DefQ inside the graph; adds the input ``defq`` bool (1,), by default true.

    Inputs and outputs are those of ``flat_head`` with n = 1, but that ``activation`` is empty, (0, ...), for a frame
    that left before the last cut.
    """
    shape = parts.shapes[split - 1]
    cuts = sorted(range(1, split) if cuts is None else cuts)

    def scope(first: int, suffix: str) -> Piece:
        """The rest of the head from block ``first`` on, ending in the four outputs with ``suffix``."""
        last = next((cut - 1 for cut in cuts if cut - 1 >= first), split - 1)
        prefix, inner = f"exit{last + 1}/", f"_{last + 1}"  # outputs of the branches need names of their own
        innermost = last == split - 1
        one_exit = first == last and not innermost
        choice = _only_confidence(last, prefix) if one_exit else _first_confident(first, last, prefix)
        here = _joined(parts.span(first, last), choice)
        if again and first == 1:
            here = _renaming(_joined(parts.blocks[0], here), {"features0": "features0_again"})
        if table is None:
            here = _renaming(here, {"pixels": "image"})
        if innermost:
            return _answering(here, prefix, f"features{last}", suffix)
        rest = scope(last + 1, inner)
        stay = helper.make_graph(rest.nodes, f"stay{last + 1}", [], _output_infos(None, shape, inner), rest.weights)
        leave = _leaving(last, prefix, f"{inner}_left", shape, one_exit)
        outputs = [name + suffix for name in OUTPUTS]
        branch = helper.make_node("If", [f"{prefix}stays"], outputs, then_branch=stay, else_branch=leave)
        return _joined(here, Piece([branch], []))

    info, default = _threshold(threshold)
    inputs = [helper.make_tensor_value_info("image", FLOAT, [1, *input_shape]), info]
    whole = scope(0, "")
    if table is not None:
        whole = _joined(defq_switch(table, input_shape), whole)
        inputs.append(helper.make_tensor_value_info("defq", BOOL, [1]))
    graph = helper.make_graph(whole.nodes, "nested_head", inputs, _output_infos(None, shape), [default, *whole.weights])
    return _model(graph, "Exits of the device; blocks behind an exit run only when the frame has not left.")


def _leaving(last: int, prefix: str, suffix: str, shape: tuple[int, ...], one_exit: bool) -> GraphProto:
    """The branch of a frame that leaves: its answer and an empty activation."""
    empty = constant(f"{prefix}empty", np.zeros((0, *shape), np.float32))
    number = constant(f"{prefix}number", np.array([last + 1], np.int64))
    node = helper.make_node
    if one_exit:
        answer = node("ArgMax", [f"softmax{last}"], [f"label{suffix}"], axis=1, keepdims=0)
        exit_ = number.name
    else:
        answer, exit_ = node("Identity", [f"{prefix}label"], [f"label{suffix}"]), f"{prefix}exit"
    nodes = [
        answer,
        node("Identity", [f"{prefix}confidence"], [f"confidence{suffix}"]),
        node("Identity", [exit_], [f"exit{suffix}"]),
        node("Identity", [empty.name], [f"activation{suffix}"]),
    ]
    weights = [empty, number] if one_exit else [empty]
    return helper.make_graph(nodes, f"leave{last + 1}", [], _output_infos(None, shape, suffix), weights)


def defq_switch(table: np.ndarray, input_shape: tuple[int, ...]) -> Piece:
    """``image`` -> ``pixels``, through DefQ where the input ``defq`` (default true) says so."""
    shape = [1, *input_shape]
    body = defq_nodes(table, input_shape)
    quantise = helper.make_graph(
        body.nodes, "defq_on", [], [helper.make_tensor_value_info("quantised", FLOAT, shape)], body.weights
    )
    same = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["unchanged"])],
        "defq_off", [], [helper.make_tensor_value_info("unchanged", FLOAT, shape)],
    )  # fmt: skip
    switch = helper.make_node("If", ["defq"], ["pixels"], then_branch=quantise, else_branch=same)
    return Piece([switch], [constant("defq", np.array([True]))])


def defq_nodes(table: np.ndarray, input_shape: tuple[int, ...]) -> Piece:
    """DefQ (device/quantization.py) as nodes: ``image`` float32 (1, c, h, w) in [0, 1] -> ``quantised``, the same shape."""
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
    return Piece(nodes, [constant(f"defq/{name}", values) for name, values in weights.items()])
