"""The pools of exits in 8 bits: the average by a depthwise convolution, the maximum as it is.

With a float32 average, ONNX Runtime first makes float32 of the whole map and brings it into another layout. That took MobileNet
at 128 x 128 longer than the layers before it.
"""

import numpy as np
from onnx import NodeProto, helper

from export.onnx.parts import ExportedBlocks, GraphPart, constant, renamed


def with_pools(exported: ExportedBlocks, first: int) -> tuple[ExportedBlocks, dict[int, GraphPart]]:
    """Exits from ``first`` on that read ``mean{i}`` and ``max{i}`` in place of pooling ``features{i}``, and by i what computes these.
    Exits that do not pool windows side by side stay as they are."""
    exits, pools = list(exported.exits), {}
    for index, shape in list(enumerate(exported.shapes))[first:]:
        found = {node.op_type: node for node in exits[index].nodes if _pools(node, index)}
        if set(found) == {"AveragePool", "MaxPool"}:
            mean, largest = found["AveragePool"], found["MaxPool"]
            pools[index] = _pooling(index, shape[0], mean, largest, _ends_in_sum(exported.blocks[index]))
            rest = [node for node in exits[index].nodes if node is not mean and node is not largest]
            names = {mean.output[0]: f"mean{index}", largest.output[0]: f"max{index}"}
            exits[index] = renamed(GraphPart(rest, exits[index].weights), names)
    return exported._replace(exits=exits), pools


def _pools(node: NodeProto, index: int) -> bool:
    """Whether a node pools windows of ``features{index}`` that lie side by side."""
    if node.op_type not in ("AveragePool", "MaxPool") or node.input[0] != f"features{index}":
        return False
    return _ints(node, "strides") == _ints(node, "kernel_shape") and not any(_ints(node, "pads"))


def _ends_in_sum(block: GraphPart) -> bool:
    """Whether what a block hands over is a sum, or its ReLU."""
    *_, last = block.nodes
    if last.op_type in ("Relu", "Clip"):
        last = next(node for node in block.nodes if last.input[0] in node.output)
    return bool(last.op_type == "Add")


def _ints(node: NodeProto, name: str) -> list[int]:
    return next((list(each.ints) for each in node.attribute if each.name == name), [])


def _pooling(index: int, channels: int, mean: NodeProto, largest: NodeProto, added: bool) -> GraphPart:
    """``features{index}`` -> ``mean{index}`` and ``max{index}``.

    Args:
        added: the features come from an addition. They then go through a convolution of one pixel, which changes nothing: ONNX
            Runtime has a fast maximum in 8 bits only for the layout of its convolutions.
    """
    name, node = f"pools{index}", helper.make_node
    windows = _ints(mean, "kernel_shape")
    weights = [constant(f"{name}/shares", np.full((channels, 1, *windows), 1 / np.prod(windows), np.float32))]
    nodes, read = [], f"features{index}"
    if added:
        weights.append(constant(f"{name}/ones", np.ones((channels, 1, 1, 1), np.float32)))
        nodes.append(
            node("Conv", [read, f"{name}/ones"], [f"{name}/map"], f"{name}/map", kernel_shape=[1, 1], group=channels)
        )
        read = f"{name}/map"
    nodes.append(
        node(
            "Conv", [read, f"{name}/shares"], [f"mean{index}"], f"mean{index}", kernel_shape=windows, strides=windows, group=channels
        )
    )  # fmt: skip
    sizes, steps = _ints(largest, "kernel_shape"), _ints(largest, "strides")
    nodes.append(node("MaxPool", [read], [f"max{index}"], f"max{index}", kernel_shape=sizes, strides=steps))
    return GraphPart(nodes, weights)
