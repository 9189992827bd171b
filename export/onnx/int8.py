"""Quantises the blocks of a network to 8 bits with ONNX Runtime's static quantiser.

ONNX Runtime's quantiser does not look into the branches of an ``If``, where the nested head keeps its blocks. So the blocks
are quantised before they are joined: as one graph without exits, which is then taken apart again between the blocks. Head,
flat head, tail and payload forms are made of the quantised blocks as of any others (export/onnx/graphs.py), and compute
with the same numbers.

Activations are uint8 and weights int8 with one scale for each channel. On x86-64 with VNNI this was 1.8 times as fast as
int8 activations. ``features{i}`` is uint8 in these blocks: ONNX Runtime fuses a convolution with the QuantizeLinear behind
it only if both are in the same graph, so that the QuantizeLinear must lie before a cut; and a cut then copies a quarter of
the bytes. Exits read float32: their classifiers are a small part of the work, and their confidences decide.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.onnx.parts import ExportedBlocks, GraphPart, Grid, joined, model, renamed

QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "MaxPool", "AveragePool", "Relu", "Clip", "Flatten", "Reshape")
"""Operators that are computed in 8 bits. Others, such as the normalisation of a stem, stay float32."""
BATCH = 50


def quantised_blocks(exported: ExportedBlocks, input_shape: tuple[int, ...], images: np.ndarray) -> ExportedBlocks:
    """The same network with blocks that compute in 8 bits. Exits stay float32.

    Args:
        exported: float32 blocks.
        input_shape: (channels, height, width).
        images: float32 (n, c, h, w) in [0, 1], calibration images; their largest and smallest activations set the scales.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "blocks.onnx"
        logging.disable(
            logging.WARNING
        )  # it asks for a preparation that adds nothing to parts in which batch norm is folded
        try:
            quantize_static(
                _blocks_alone(exported, input_shape), str(file), _Images(images),
                quant_format=QuantFormat.QDQ, op_types_to_quantize=list(QUANTISED), per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
        return _taken_apart(onnx.load(str(file)), exported)


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Hands calibration images to the quantiser."""

    def __init__(self, images: np.ndarray) -> None:
        self._batches: Iterator[np.ndarray] = iter(np.array_split(images, -(-len(images) // BATCH)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


def _blocks_alone(exported: ExportedBlocks, input_shape: tuple[int, ...]) -> ModelProto:
    """All blocks without their exits: ``pixels`` -> every ``features{i}``. That each of them is an output makes the
    quantiser give it a scale of its own, behind which the graph can be cut."""
    whole = joined(*exported.blocks)
    outputs = [
        helper.make_tensor_value_info(f"features{index}", TensorProto.FLOAT, ["batch", *shape])
        for index, shape in enumerate(exported.shapes)
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", *input_shape])
    return model(helper.make_graph(whole.nodes, "blocks", [pixels], outputs, whole.weights), "To be quantised.")


def _taken_apart(quantised: ModelProto, exported: ExportedBlocks) -> ExportedBlocks:
    """Cut the graph behind the QuantizeLinear of each ``features{i}``."""
    graph = quantised.graph
    makers = {output: node for node in graph.node for output in node.output}
    weights = {weight.name: weight for weight in graph.initializer}
    blocks: list[GraphPart] = []
    grids: list[Grid] = []
    before = "pixels"
    for index in range(len(exported.shapes)):
        dequantise = makers[f"features{index}"]  # its inputs: the tensor in 8 bits, scale, zero point
        last = dequantise.input[0]
        needed, found = [last], set()
        while needed:
            name = needed.pop()
            if name in found or name in weights or name == before:
                continue
            found.add(name)
            needed.extend(makers[name].input)
        nodes = [node for node in graph.node if node.output[0] in found]
        read = {name for node in nodes for name in node.input}
        part = GraphPart(nodes, [weight for name, weight in weights.items() if name in read])
        names = {last: f"features{index}"}
        if index:
            names[before] = f"features{index - 1}"
            for each in ("scale", "zero_point"):  # of the block before, which has them under these names
                names[f"features{index - 1}_{each}"] = f"features{index}/input_{each}"
            # the quantiser called the float32 form of the features what their 8 bits are called here
            names[f"features{index - 1}"] = f"features{index}/input"
        blocks.append(renamed(part, names))
        grids.append(Grid(*(numpy_helper.to_array(weights[each]) for each in dequantise.input[1:])))
        before = last
    blocks.append(exported.blocks[-1])
    exits = []
    for index, part in enumerate(exported.exits):
        at = min(index, len(grids) - 1)  # the final classifier reads what the last internal one reads
        features = f"softmax{index}/features"
        exits.append(joined(grids[at].to_float(f"features{at}", features), renamed(part, {f"features{at}": features})))
    return ExportedBlocks(blocks, exits, exported.shapes, grids)
