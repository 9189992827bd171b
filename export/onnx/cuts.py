"""Decides where the nested head (export/onnx/graphs.py) is cut, and what it hands over at a cut, so that a cut costs little.

ONNX Runtime keeps features in a blocked layout. At a cut it converts what the branch reads into the plain layout, even for
frames that leave there, and converts it back inside the branch. Where computing costs less than this conversion, part of
the next block is computed before the cut, or the first block a second time behind it. Where few frames leave, there is no cut.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto, helper

from export.onnx.parts import ExportedBlocks, GraphPart, constant, joined, renamed

# Multiply-accumulates that take about as long as handing one value over (VGG-16's first block has 27 for each of its
# values, MobileNet's 50, ResNet-56's 315)
MACS_PER_VALUE = 32
# Multiply-accumulates that take about as long as (measured on x86-64 with AVX-512, where a million takes 20 us): a cut without
# what it hands over; choosing among the exits between two cuts; and each of these exits in the choice
CUT_MACS, CHOICE_MACS, CHOICE_MACS_EACH = 1_000_000, 500_000, 250_000


class Handover(NamedTuple):
    """Arguments of ``nested_head``.

    exported: the network, where some blocks start before the cut in front of them.
    repeat_first_block: whether block 1 is computed a second time behind the cut.
    cuts: exits (1-based) with a cut behind them.
    """

    exported: ExportedBlocks
    repeat_first_block: bool
    cuts: list[int]


class Traffic(NamedTuple):
    """What decides where cuts pay.

    macs: multiply-accumulates of each block and its classifier.
    shares: of the frames that leave at each exit.
    """

    macs: Sequence[int]
    shares: Sequence[float]


def cheapest_handover(exported: ExportedBlocks, split: int, traffic: Traffic | None = None) -> Handover:
    """Start blocks 2..split before the cut in front of them where less is then handed over, and cut where it pays.

    Block 1 is computed twice where that is cheaper still, unless it computes in 8 bits: then its features take a quarter of
    the bytes.

    Args:
        traffic: None: a cut behind every exit.
    """
    blocks, exits = list(exported.blocks), list(exported.exits)
    handed = [_Handed(f"features{index}", shape) for index, shape in enumerate(exported.shapes[: split - 1])]
    for index in range(1, split):
        started = _start_before_the_cut(exported, index)
        if started:
            handed[index - 1] = _Handed(f"started{index}", started.shape)
            start, blocks[index] = _split(blocks[index], started.name, f"started{index}")
            exits[index - 1] = joined(exits[index - 1], start)
        elif not exported.grids:
            blocks[index] = _reading_once(blocks[index], index, exported.shapes[index - 1])
    repeat = not exported.grids and blocks[1] is exported.blocks[1] and macs_per_value(exported) < MACS_PER_VALUE
    prices = [MACS_PER_VALUE * int(np.prod(each.shape)) for each in handed]
    cuts = list(range(1, split)) if traffic is None else cuts_that_pay(traffic, prices, split)
    if exported.grids:
        for cut in cuts:
            exits[cut - 1], blocks[cut] = _in_one_row(exits[cut - 1], blocks[cut], handed[cut - 1])
        if cuts and exported.grid(0) is None and cuts[0] == 1:
            exits[0] = joined(exits[0], _convolution_in_8_bits())
    return Handover(exported._replace(blocks=blocks, exits=exits), repeat, cuts)


def cuts_that_pay(traffic: Traffic, handed: Sequence[int], split: int) -> list[int]:
    """The exits below ``split`` (1-based) with a cut behind them that make a frame cost the least, in the mean.

    Args:
        handed: multiply-accumulates that take as long as handing over what a cut behind each of these exits does.
    """
    stays = 1 - np.cumsum([0.0, *traffic.shares])  # share of the frames that get to each exit, from 0
    best: dict[int, tuple[float, list[int]]] = {split: (0.0, [])}
    for first in range(split - 1, -1, -1):
        choices = []
        for last in range(first, split):
            spent = sum(traffic.macs[first : last + 1])
            if last > first:
                spent += CHOICE_MACS + CHOICE_MACS_EACH * (last + 1 - first)
            cost, cuts = stays[first] * spent, []
            if last < split - 1:  # a frame that leaves there pays for half of the cut
                cost += (stays[first] + stays[last + 1]) / 2 * (CUT_MACS + handed[last])
                cuts = [last + 1]
            behind, later = best[last + 1]
            choices.append((cost + behind, cuts + later))
        best[first] = min(choices)
    return best[0][1]


def macs_per_value(exported: ExportedBlocks) -> float:
    """Multiply-accumulates of block 1 for each value of its output: the cost of computing it again, compared to a copy."""
    weights = {weight.name: weight for weight in exported.blocks[0].weights}
    channels, values = exported.shapes[0][0], int(np.prod(exported.shapes[0]))
    convolutions = [weights[node.input[1]] for node in exported.blocks[0].nodes if node.op_type == "Conv"]
    # Every map of the stem and the first block has as many pixels as its output, or more where a pool follows.
    return sum(int(np.prod(weight.dims)) * values // channels for weight in convolutions) / values


class _Handed(NamedTuple):
    """A tensor that a cut hands over. shape: without the batch axis."""

    name: str
    shape: tuple[int, ...]


def _start_before_the_cut(exported: ExportedBlocks, index: int) -> _Handed | None:
    """Where a strided convolution and its ReLU end, if that is better handed over than the features that the convolution reads.
    In 8 bits it ends behind the QuantizeLinear that follows."""
    nodes = exported.blocks[index].nodes
    node = _only_reader(nodes, f"features{index - 1}")
    if node is not None and node.op_type == "QuantizeLinear":
        node = _only_reader(nodes, node.output[0])
    if node is not None and node.op_type == "DequantizeLinear":
        node = _only_reader(nodes, node.output[0])
    if node is None or node.op_type != "Conv":
        return None  # a block that reads the features twice needs them behind the cut in any case
    shape = _weight_shape(exported.blocks[index], node.input[1])
    kept = _shape_of(node, shape, exported.shapes[index - 1])
    fewer = int(np.prod(exported.shapes[index - 1])) - int(np.prod(kept))
    if int(np.prod(kept)) * int(np.prod(shape[1:])) >= MACS_PER_VALUE * fewer:
        return None
    follower = _only_reader(nodes, node.output[0])
    if follower is not None and follower.op_type == "Relu":
        node, follower = follower, _only_reader(nodes, follower.output[0])
    if not exported.grids:
        return _Handed(node.output[0], kept)
    return _Handed(follower.output[0], kept) if follower is not None and follower.op_type == "QuantizeLinear" else None


def _in_one_row(exit_: GraphPart, block: GraphPart, handed: _Handed) -> tuple[GraphPart, GraphPart]:
    """An exit that hands a tensor over as one row of values, and the block that reads it. It costs nothing. ONNX Runtime 1.10 cannot
    load a nested head in 8 bits without it where a convolution in front of the cut reads the tensor too (the mean of an exit):
    it loses count of the readers behind the cut."""
    row, back = f"{handed.name}/row", f"{handed.name}/back"
    shapes = [
        constant(f"{row}_shape", np.array([1, -1], np.int64)),
        constant(f"{back}_shape", np.array([1, *handed.shape], np.int64)),
    ]
    to_row = helper.make_node("Reshape", [handed.name, shapes[0].name], [row], row)
    to_map = helper.make_node("Reshape", [row, shapes[1].name], [back], back)
    return (
        joined(exit_, GraphPart([to_row], shapes[:1])),
        joined(GraphPart([to_map], shapes[1:]), renamed(block, {handed.name: back})),
    )


def _reading_once(block: GraphPart, index: int, shape: tuple[int, ...]) -> GraphPart:
    """A block that reads a map more than once, such as a residual one, with a pool of 1 x 1 pixels in front. It changes nothing,
    but ONNX Runtime then has the map in its own layout for all readers, and adds it within the last convolution."""
    source, target = f"features{index - 1}", f"features{index}/read"
    if len(shape) != 3 or sum(source in node.input for node in block.nodes) < 2:
        return block
    pool = helper.make_node("MaxPool", [source], [target], target, kernel_shape=[1, 1], strides=[1, 1])
    return joined(GraphPart([pool], []), renamed(block, {source: target}))


def _convolution_in_8_bits() -> GraphPart:
    """A convolution of one value, which nothing reads. ONNX Runtime 1.10 crashes on a nested head in 8 bits whose outermost graph has
    no convolution in 8 bits. It takes about 5 us."""
    name, node = "outermost", helper.make_node
    weights: dict[str, Any] = {
        "shape": np.array([1, 1, 1, 1], np.int64), "scale": np.float32(1), "zero_point": np.uint8(0),
        "weight": np.ones((1, 1, 1, 1), np.int8), "weight_scale": np.ones(1, np.float32), "weight_zero_point": np.zeros(1, np.int8),
    }  # fmt: skip
    grid = [f"{name}/scale", f"{name}/zero_point"]
    nodes = [
        node("Reshape", ["threshold", f"{name}/shape"], [f"{name}/value"]),
        node("QuantizeLinear", [f"{name}/value", *grid], [f"{name}/value8"]),
        node("DequantizeLinear", [f"{name}/value8", *grid], [f"{name}/input"]),
        node(
            "DequantizeLinear",
            [f"{name}/weight", f"{name}/weight_scale", f"{name}/weight_zero_point"],
            [f"{name}/kernel"],
            axis=0,
        ),
        node("Conv", [f"{name}/input", f"{name}/kernel"], [f"{name}/output"]),
        node("QuantizeLinear", [f"{name}/output", *grid], [f"{name}/output8"]),
    ]
    return GraphPart(nodes, [constant(f"{name}/{key}", values) for key, values in weights.items()])


def _only_reader(nodes: Sequence[NodeProto], name: str) -> NodeProto | None:
    """The node that reads a tensor, if it is one alone."""
    readers = [node for node in nodes if name in node.input]
    return readers[0] if len(readers) == 1 else None


def _weight_shape(block: GraphPart, name: str) -> tuple[int, ...]:
    """Of the weight of a convolution, which in 8 bits lies behind a DequantizeLinear."""
    stored = next((node.input[0] for node in block.nodes if name in node.output), name)
    return tuple(next(each for each in block.weights if each.name == stored).dims)


def _shape_of(node: NodeProto, weight: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what a convolution makes of features (c, h, w). Its padding keeps the size, apart from its stride."""
    strides = next((each.ints for each in node.attribute if each.name == "strides"), (1, 1))
    return (weight[0], *(-(-size // stride) for size, stride in zip(shape[1:], strides, strict=True)))


def _split(block: GraphPart, end: str, name: str) -> tuple[GraphPart, GraphPart]:
    """What it takes to compute tensor ``end`` of a block, and the rest. The tensor that joins the two is called ``name``.
    Weights that both need, such as a scale, get another name in the rest, because a branch may not use a name again."""
    makers = {output: node for node in block.nodes for output in node.output}
    needed, found = [end], set()
    while needed:
        tensor = needed.pop()
        if tensor in makers and tensor not in found:
            found.add(tensor)
            needed.extend(makers[tensor].input)
    start = [node for node in block.nodes if node.output[0] in found]
    rest = [node for node in block.nodes if node.output[0] not in found]
    parts = []
    for nodes in (start, rest):
        names = {each for node in nodes for each in node.input}
        parts.append(GraphPart(nodes, [weight for weight in block.weights if weight.name in names]))
    shared = {each.name for each in parts[0].weights} & {each.name for each in parts[1].weights}
    return (
        renamed(parts[0], {end: name}),
        renamed(parts[1], {end: name, **{each: f"{name}/{number}" for number, each in enumerate(sorted(shared))}}),
    )
