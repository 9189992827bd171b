"""Quantises the blocks of a network to 8 bits with ONNX Runtime's static quantiser.

ONNX Runtime's quantiser does not look into the branches of an ``If``, where the nested head keeps its blocks. So the blocks
are quantised before they are joined: as one graph without exits, which is then taken apart again between the blocks. Head,
flat head, tail and payload forms are made of the quantised blocks as of any others (export/onnx/graphs.py), and compute
with the same numbers.

Activations are uint8 and weights int8 with one scale for each channel. ``features{i}`` is uint8 in these blocks: ONNX Runtime fuses a convolution with the QuantizeLinear behind
it only if both are in the same graph, so that the QuantizeLinear must lie before a cut; and a cut then copies a quarter of
the bytes. Exits pool their maps in 8 bits (export/onnx/int8_pools.py). Their linear
layers read float32: they are a small part of the work, and their confidences decide.

The convolution that reads the pixels, and a depthwise one behind it, stay float32. They are not faster in 8 bits, and what
is rounded there changes every exit: with them in 8 bits, 89 % of calibration images left EfficientNet-Lite0 where they leave
in float32, else 97 % (hand signs, 96 x 96, 7 exits). Where the first block hands over less than the first convolution in
8 bits would read, the whole block stays float32: making uint8 of a map takes as long as a layer.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.onnx.int8_pools import with_pools
from export.onnx.parts import ExportedBlocks, GraphPart, Grid, joined, model, renamed

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
    exported, first = _kept_behind_a_pool(exported, first)
    exported, pools = with_pools(exported, blocks_float32)
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


def _kept_behind_a_pool(exported: ExportedBlocks, first: list[str]) -> tuple[ExportedBlocks, list[str]]:
    """Keep a maximum float32 that is the last of the layers ``first``. ONNX Runtime moves the QuantizeLinear behind it to its front,
    where the maximum in 8 bits takes as long as two convolutions, but not over an average of one pixel, which changes nothing."""
    nodes = list(exported.blocks[0].nodes)
    place = next((number for number, node in enumerate(nodes) if first and node.name == first[-1]), 0)
    if not first or nodes[place].op_type != "MaxPool":
        return exported, first
    target = nodes[place].output[0]
    source = f"{target}/max"
    pool = renamed(GraphPart([nodes[place]], []), {target: source}).nodes[0]
    average = helper.make_node("AveragePool", [source], [target], target, kernel_shape=[1, 1], strides=[1, 1])
    nodes[place : place + 1] = [pool, average]
    blocks = [GraphPart(nodes, exported.blocks[0].weights), *exported.blocks[1:]]
    return exported._replace(blocks=blocks), [*first[:-1], pool.name, average.name]


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
