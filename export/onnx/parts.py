"""Parts of ONNX graphs: PyTorch exports each module on its own; the nodes are then renamed and joined here.

onnx.compose does not do this job: it joins whole models, and cannot put nodes with their weights into a branch of an If.
"""

import io
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from export.networks.sdn import SDN
from export.onnx.pooling import with_few_operators

OPSET = 13
IR_VERSION = 7


class GraphPart(NamedTuple):
    """Part of a graph: nodes in order, and the weights that they name."""

    nodes: list[NodeProto]
    weights: list[TensorProto]


def graph_part(module: nn.Module, example: torch.Tensor, source: str, target: str) -> GraphPart:
    """Export ``module`` as nodes that read tensor ``source`` and write tensor ``target``; batch norm is folded away.

    Args:
        module: takes one tensor and gives one; it is put into evaluation mode.
        example: float32 (1, ...) of the input's shape.
    """
    module.eval()  # the exporter restores the mode of the module, and with it that of its parts
    buffer: Any = io.BytesIO()
    with warnings.catch_warnings():  # opset 13 without onnxscript needs the older exporter, which warns that it is old
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
            names[node.output[0]] = names[node.input[0]]  # a second name of the same weight
            continue
        for output in node.output:
            names.setdefault(output, f"{target}/{output}")
        nodes.append(
            _renamed(node, [names.get(each, each) for each in node.input], [names[each] for each in node.output])
        )
    if not nodes:
        nodes = [helper.make_node("Identity", [source], [target])]
    return GraphPart(nodes, weights)


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


def joined(*parts: GraphPart) -> GraphPart:
    return GraphPart(
        [node for each in parts for node in each.nodes], [weight for each in parts for weight in each.weights]
    )


def model(graph: GraphProto, note: str) -> ModelProto:
    """Make a model of a graph, at the opset and IR version of bundles, and check it."""
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    made.producer_name = "sdn-edge-defq"
    made.doc_string = note
    onnx.checker.check_model(made)
    return made


class Grid(NamedTuple):
    """The values that features have in 8 bits: scale x (0 - zero_point) to scale x (255 - zero_point).

    scale: float32 (). zero_point: uint8 ().
    """

    scale: np.ndarray
    zero_point: np.ndarray

    def to_float(self, source: str, target: str) -> GraphPart:
        """``source`` uint8 -> ``target`` float32."""
        return self._part("DequantizeLinear", source, target)

    def to_uint8(self, source: str, target: str) -> GraphPart:
        """``source`` float32 -> ``target`` uint8."""
        return self._part("QuantizeLinear", source, target)

    def _part(self, operator: str, source: str, target: str) -> GraphPart:
        weights = [constant(f"{target}/scale", self.scale), constant(f"{target}/zero_point", self.zero_point)]
        return GraphPart([helper.make_node(operator, [source, *(each.name for each in weights)], [target])], weights)


class ExportedBlocks(NamedTuple):
    """The blocks and exits of a network as parts of a graph.

    Block i, from 0, reads ``features{i-1}`` (block 0 reads ``pixels``) and writes ``features{i}``. Exit i reads
    ``features{i}`` and writes ``softmax{i}`` (n, classes). The last exit is the final classifier, whose block is empty.
    shapes: of ``features{i}``, without the batch axis.
    grids: of ``features{i}`` where the blocks compute in 8 bits (export/onnx/int8.py); None for features that are float32, and
        no grids at all where all of them are.
    """

    blocks: list[GraphPart]
    exits: list[GraphPart]
    shapes: list[tuple[int, ...]]
    grids: Sequence[Grid | None] = ()

    def grid(self, index: int) -> Grid | None:
        """Of ``features{index}``; None where they are float32."""
        return self.grids[index] if self.grids else None

    def giving(self, part: GraphPart, index: int, target: str) -> GraphPart:
        """``part``, which computes ``features{index}``, and these features as the float32 tensor ``target``."""
        source, grid = f"features{index}", self.grid(index)
        return joined(part, grid.to_float(source, target)) if grid else renamed(part, {source: target})

    def taking(self, part: GraphPart, index: int, source: str) -> GraphPart:
        """``part``, which reads ``features{index}``, and these features made of the float32 tensor ``source``."""
        target, grid = f"features{index}", self.grid(index)
        return joined(grid.to_uint8(source, target), part) if grid else renamed(part, {target: source})

    def span(self, first: int, last: int) -> GraphPart:
        """Blocks and exits ``first`` to ``last``, inclusive."""
        return joined(*(part for index in range(first, last + 1) for part in (self.blocks[index], self.exits[index])))


@torch.no_grad()
def export_blocks(network: SDN) -> ExportedBlocks:
    """Export every block and classifier of a network in evaluation mode."""
    network.eval()
    blocks, exits, shapes = [], [], []
    features, source = torch.zeros(1, *network.input_shape), "pixels"
    for index, (block, classifier) in enumerate(zip(network.blocks, network.ics, strict=True)):
        whole = nn.Sequential(network.stem, block) if index == 0 else block
        blocks.append(graph_part(whole, features, source, f"features{index}"))
        features, source = whole(features), f"features{index}"
        exits.append(
            graph_part(
                nn.Sequential(with_few_operators(classifier), nn.Softmax(1)), features, source, f"softmax{index}"
            )
        )
        shapes.append(tuple(features.shape[1:]))
    last = len(blocks)
    blocks.append(GraphPart([], []))
    exits.append(graph_part(nn.Sequential(network.end, nn.Softmax(1)), features, source, f"softmax{last}"))
    return ExportedBlocks(blocks, exits, shapes)


def renamed(part: GraphPart, names: dict[str, str]) -> GraphPart:
    """A copy with tensors renamed. A name ``a`` -> ``b`` also renames ``a/x`` to ``b/x``."""

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
    return GraphPart(nodes, weights)
