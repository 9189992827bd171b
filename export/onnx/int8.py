"""Quantises the blocks of a network to 8 bits with ONNX Runtime's static quantiser.

ONNX Runtime's quantiser does not look into the branches of an ``If``, where the nested head keeps its blocks. So the blocks
are quantised before they are joined: as one graph without exits, which is then taken apart again between the blocks. Head,
flat head, tail and payload forms are made of the quantised blocks as of any others (export/onnx/graphs.py), and compute
with the same numbers.

Activations are uint8 and weights int8 with one scale for each channel. ``features{i}`` is uint8 in these blocks: ONNX Runtime fuses a convolution with the QuantizeLinear behind
it only if both are in the same graph, so that the QuantizeLinear must lie before a cut; and a cut then copies a quarter of
the bytes. The linear layers of exits read float32: they are a small part of the work, and their confidences decide.

The convolution that reads the pixels, and a depthwise one behind it, stay float32. They are not faster in 8 bits, and what
is rounded there changes every exit: with them in 8 bits, 89 % of calibration images left EfficientNet-Lite0 where they leave
in float32, else 97 % (hand signs, 96 x 96, 7 exits). Where the first block hands over less than the first convolution in
8 bits would read, the whole block stays float32: making uint8 of a map takes as long as a layer.

Exits pool their maps in 8 bits, the average by a depthwise convolution. With a float32 average, ONNX Runtime first makes
float32 of the whole map and brings it into another layout, which took MobileNet at 128 x 128 longer than the layers before it.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.onnx.parts import ExportedBlocks, GraphPart, Grid, constant, joined, model, renamed

QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "MaxPool", "AveragePool", "Relu", "Clip", "Flatten", "Reshape")
"""Operators that are computed in 8 bits. Others, such as the normalisation of a stem, stay float32."""
CONVOLUTIONAL = ("Conv", "Relu", "Clip", "Add", "MaxPool")
"""What is computed in 8 bits of the final classifier, which may have blocks of its own."""
BATCH = 50


def quantised_blocks(exported: ExportedBlocks, input_shape: tuple[int, ...], images: np.ndarray) -> ExportedBlocks:
    """The same network with blocks that compute in 8 bits, and convolutions before the final classifier. Exits stay float32.

    Args:
        exported: float32 blocks.
        input_shape: (channels, height, width).
        images: float32 (n, c, h, w) in [0, 1], calibration images; their largest and smallest activations set the scales.
    """
    excluded = [node.name for node in exported.exits[-1].nodes if node.op_type not in CONVOLUTIONAL]
    first = _first_layers(exported, input_shape)
    blocks_float32 = int(len(first) == len(exported.blocks[0].nodes))
    exported, pools = _with_pools(exported, blocks_float32)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "blocks.onnx"
        logging.disable(logging.WARNING)  # it asks for a preparation that adds nothing where batch norm is folded
        try:
            quantize_static(
                _without_exits(exported, pools, input_shape), str(file), _Images(images),
                quant_format=QuantFormat.QDQ, op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=excluded + first, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
        return _taken_apart(onnx.load(str(file)), exported, pools, blocks_float32)


def _with_pools(exported: ExportedBlocks, first: int) -> tuple[ExportedBlocks, dict[int, GraphPart]]:
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


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Hands calibration images to the quantiser."""

    def __init__(self, images: np.ndarray) -> None:
        self._batches: Iterator[np.ndarray] = iter(np.array_split(images, -(-len(images) // BATCH)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


def _first_layers(exported: ExportedBlocks, input_shape: tuple[int, ...]) -> list[str]:
    """Names of the nodes that stay float32: those before the first convolution that is neither the one that reads the pixels
    nor depthwise, or the whole first block where it hands over less than this convolution reads. None where the first block has
    no such convolution: ONNX Runtime 1.10 crashes on nested heads in 8 bits whose outermost graph has no convolution in
    8 bits and hands uint8 over (found with 2 and 4 exits, not with 1 and 3)."""
    known = onnx.shape_inference.infer_shapes(_without_exits(exported, {}, input_shape)).graph.value_info
    sizes = {
        value.name: int(np.prod([each.dim_value for each in value.type.tensor_type.shape.dim[1:]])) for value in known
    }
    names: list[str] = []
    convolutions = 0
    for node in exported.blocks[0].nodes:
        if node.op_type == "Conv":
            depthwise = any(each.name == "group" and each.i > 1 for each in node.attribute)
            if convolutions and not depthwise:
                less = int(np.prod(exported.shapes[0])) < sizes[node.input[0]]
                return [each.name for each in exported.blocks[0].nodes] if less else names
            convolutions += 1
        names.append(node.name)
    return []


def _without_exits(exported: ExportedBlocks, pools: dict[int, GraphPart], input_shape: tuple[int, ...]) -> ModelProto:
    """All blocks, pools and the final classifier: ``pixels`` -> every ``features{i}``, ``mean{i}`` and ``max{i}`` and the last
    ``softmax{i}``. That each of them is an output makes the quantiser give it a scale of its own, behind which the graph can
    be cut."""
    whole = joined(*exported.blocks, *pools.values(), exported.exits[-1])
    outputs = [
        helper.make_tensor_value_info(f"features{index}", TensorProto.FLOAT, ["batch", *shape])
        for index, shape in enumerate(exported.shapes)
    ]
    for index in pools:
        outputs += [
            helper.make_tensor_value_info(
                f"{name}{index}", TensorProto.FLOAT, ["batch", exported.shapes[index][0], "rows", "columns"]
            )
            for name in ("mean", "max")
        ]
    outputs.append(helper.make_tensor_value_info(_final(exported), TensorProto.FLOAT, ["batch", "classes"]))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", *input_shape])
    return model(helper.make_graph(whole.nodes, "blocks", [pixels], outputs, whole.weights), "To be quantised.")


def _final(exported: ExportedBlocks) -> str:
    """What the final classifier writes."""
    return f"softmax{len(exported.exits) - 1}"


def _taken_apart(
    quantised: ModelProto, exported: ExportedBlocks, pools: dict[int, GraphPart], blocks_float32: int
) -> ExportedBlocks:
    """Cut the graph behind the QuantizeLinear of each ``features{i}``, or in front of it where the block stays float32."""
    makers = {output: node for node in quantised.graph.node for output in node.output}
    weights = {weight.name: weight for weight in quantised.graph.initializer}

    def in_8_bits(name: str) -> tuple[str, Grid]:
        """The tensor that an output is made of, and its grid."""
        to_float = makers[name].input  # the tensor in 8 bits, its scale, its zero point
        return to_float[0], Grid(*(numpy_helper.to_array(weights[each]) for each in to_float[1:]))

    blocks: list[GraphPart] = []
    exits: list[GraphPart] = []
    grids: list[Grid | None] = []
    grid: Grid | None
    before = "pixels"
    for index in range(len(exported.shapes)):
        features = f"features{index}"
        end, grid = in_8_bits(features)
        if index < blocks_float32:
            end, grid = makers[end].input[0], None
        part = renamed(_span(quantised, before, end), {end: features})
        blocks.append(_reading_uint8(part, before, index - 1, features))
        grids.append(grid)
        read = exported.exits[index]
        if grid and any(features in node.input for node in read.nodes):
            dequantised = f"softmax{index}/features"
            read = joined(grid.to_float(features, dequantised), renamed(read, {features: dequantised}))
        if index in pools:
            both = [in_8_bits(f"{name}{index}") for name in ("mean", "max")]
            pooling = _span(quantised, end, *(tensor for tensor, _ in both))
            as_float = [
                own.to_float(tensor, f"{name}{index}")
                for name, (tensor, own) in zip(("mean", "max"), both, strict=True)
            ]
            read = joined(_reading_uint8(pooling, end, index, f"softmax{index}/pools"), *as_float, read)
        exits.append(read)
        before = end
    final, last = _final(exported), len(grids) - 1
    exits.append(_reading_uint8(_span(quantised, before, final), before, last, final))
    return ExportedBlocks([*blocks, exported.blocks[-1]], exits, exported.shapes, grids)


def _span(quantised: ModelProto, first: str, *lasts: str) -> GraphPart:
    """What it takes to compute tensors ``lasts`` from tensor ``first``."""
    graph = quantised.graph
    makers = {output: node for node in graph.node for output in node.output}
    needed, found = list(lasts), {first}
    while needed:
        name = needed.pop()
        if name in makers and name not in found:
            found.add(name)
            needed.extend(makers[name].input)
    nodes = [node for node in graph.node if node.output[0] in found - {first}]
    read = {name for node in nodes for name in node.input}
    return GraphPart(nodes, [weight for weight in graph.initializer if weight.name in read])


def _reading_uint8(part: GraphPart, before: str, index: int, own: str) -> GraphPart:
    """A part that reads ``before`` and dequantises it to ``features{index}``, as the quantiser called it, with the names of
    ExportedBlocks: ``features{index}`` are the 8 bits, or float32 that the part quantises itself. The float32 form, scale and zero point get names under ``own``, because
    other parts have them too. The first block, -1, reads ``pixels``, which are float32."""
    if index < 0:
        return part
    names = {before: f"features{index}", f"features{index}": f"{own}/input"}
    names.update({f"features{index}_{each}": f"{own}/input_{each}" for each in ("scale", "zero_point")})
    return renamed(part, names)
