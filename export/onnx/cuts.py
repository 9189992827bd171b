"""Decides what the nested head (export/onnx/graphs.py) hands over at a cut, so that a cut costs little.

ONNX Runtime keeps features in a blocked layout. At a cut it converts what the branch reads into the plain layout, even for
frames that leave there, and converts it back inside the branch. Where computing costs less than this conversion, part of
the next block is computed before the cut, or the first block a second time behind it.
"""

from typing import NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto

from export.onnx.parts import ExportedBlocks, GraphPart, joined, renamed

# Multiply-accumulates that take about as long as handing one value over (VGG-16's first block has 27 for each of its
# values, MobileNet's 50, ResNet-56's 315)
MACS_PER_VALUE = 32


class Handover(NamedTuple):
    """Arguments of ``nested_head``.

    exported: the network, where some blocks start before the cut in front of them.
    repeat_first_block: whether block 1 is computed a second time behind the cut.
    """

    exported: ExportedBlocks
    repeat_first_block: bool


def cheapest_handover(exported: ExportedBlocks, split: int) -> Handover:
    """Start blocks 2..split before the cut in front of them where less is then handed over.

    Block 1 is computed twice where that is cheaper still.
    """
    if exported.grids:  # a quarter of the bytes, and no conversion between layouts that costs as much as a layer
        return Handover(exported, False)
    blocks, exits = list(exported.blocks), list(exported.exits)
    for index in range(1, split):
        count = _nodes_before_the_cut(exported, index)
        if count:
            start, blocks[index] = _split(blocks[index], count, f"started{index}")
            exits[index - 1] = joined(exits[index - 1], start)
    repeat = blocks[1] is exported.blocks[1] and macs_per_value(exported) < MACS_PER_VALUE
    return Handover(ExportedBlocks(blocks, exits, exported.shapes), repeat)


def macs_per_value(exported: ExportedBlocks) -> float:
    """Multiply-accumulates of block 1 for each value of its output: the cost of computing it again, compared to a copy."""
    weights = {weight.name: weight for weight in exported.blocks[0].weights}
    channels, values = exported.shapes[0][0], int(np.prod(exported.shapes[0]))
    convolutions = [weights[node.input[1]] for node in exported.blocks[0].nodes if node.op_type == "Conv"]
    # Every map of the stem and the first block has as many pixels as its output, or more where a pool follows.
    return sum(int(np.prod(weight.dims)) * values // channels for weight in convolutions) / values


def _nodes_before_the_cut(exported: ExportedBlocks, index: int) -> int:
    """The number of nodes of a block (a strided convolution and its ReLU) that are better computed before the cut, or 0."""
    nodes, source = exported.blocks[index].nodes, f"features{index - 1}"
    readers = [node for node in nodes if source in node.input]
    if len(readers) != 1 or readers[0] is not nodes[0] or nodes[0].op_type != "Conv":
        return 0  # a block that reads the features twice needs them behind the cut in any case
    weight = next(each for each in exported.blocks[index].weights if each.name == nodes[0].input[1])
    given = int(np.prod(exported.shapes[index - 1]))
    kept = _values_of(nodes[0], weight, exported.shapes[index - 1])
    macs = kept * int(np.prod(weight.dims[1:]))
    if macs >= MACS_PER_VALUE * (given - kept):
        return 0
    followers = [node for node in nodes if nodes[0].output[0] in node.input]
    return 2 if followers == [nodes[1]] and nodes[1].op_type == "Relu" else 1


def _values_of(node: NodeProto, weight: TensorProto, shape: tuple[int, ...]) -> int:
    """The number of values that a convolution makes of features (c, h, w). Its padding keeps the size, apart from its stride."""
    strides = next((each.ints for each in node.attribute if each.name == "strides"), (1, 1))
    return int(weight.dims[0] * np.prod([-(-size // stride) for size, stride in zip(shape[1:], strides, strict=True)]))


def _split(block: GraphPart, count: int, name: str) -> tuple[GraphPart, GraphPart]:
    """The first ``count`` nodes of a block, and the others. The tensor that joins the two is called ``name``."""
    whole = renamed(block, {block.nodes[count - 1].output[0]: name})
    start, rest = whole.nodes[:count], whole.nodes[count:]
    names = {each for node in start for each in node.input}
    return (
        GraphPart(start, [weight for weight in whole.weights if weight.name in names]),
        GraphPart(rest, [weight for weight in whole.weights if weight.name not in names]),
    )
