"""Blocks in 8 bits: every graph that is made of them computes the same numbers."""

import numpy as np
import onnx
import pytest

from bench.subject import random_network
from device.defence.defq import DefQ
from device.payload.forms.coefficients import packed_coefficients, steps_of
from export.bundle.comparison_frames import comparison_frames
from export.calibration.cost import early_exit, score
from export.networks.exits import with_exits
from export.networks.mobilenet import mobilenet
from export.networks.weights import to_tensor
from export.onnx import graphs, parts
from export.onnx.cuts import cheapest_handover
from export.onnx.forms import coefficients
from export.onnx.int8 import quantised_blocks
from export.onnx.parity import run_split, session
from export.onnx.scores import graph_scores
from host.app.staged_tail import StagedTail
from tests import tiny

THRESHOLD = 0.62


@pytest.fixture(scope="module")
def images():
    return to_tensor(tiny.frames()).numpy()


@pytest.fixture(scope="module")
def exported():
    return parts.export_blocks(tiny.network())


@pytest.fixture(scope="module")
def quantised(exported, images):
    return quantised_blocks(exported, tiny.SHAPE, images)


@pytest.fixture(scope="module")
def whole(quantised):
    return graph_scores(quantised, tiny.SHAPE, tiny.frames())


def test_the_whole_network_in_float32_scores_as_pytorch_does(exported):
    found, expected = graph_scores(exported, tiny.SHAPE, tiny.frames()), score(tiny.network(), tiny.frames())
    np.testing.assert_allclose(found.confidences, expected.confidences, atol=1e-5)
    assert np.array_equal(found.classes, expected.classes)


def test_confidences_stay_close_to_float32(whole):
    apart = np.abs(whole.confidences - score(tiny.network(), tiny.frames()).confidences)
    assert apart.mean() < 0.02


@pytest.mark.parametrize("split", [1, 2, 3, 4])
@pytest.mark.parametrize("form", ["all cuts", "no cut", "fused DefQ", "flat"])
def test_head_and_tail_answer_as_the_whole_network(quantised, whole, images, split, form):
    if form == "flat":
        head = graphs.flat_head(quantised, split, tiny.SHAPE)
    else:
        cuts = [] if form == "no cut" else None
        table = tiny.TABLE.steps if form == "fused DefQ" else None
        head = graphs.nested_head(quantised, split, tiny.SHAPE, THRESHOLD, cuts, table=table)
    exits, labels = early_exit(whole, THRESHOLD)
    found_exits, found_labels, _ = run_split(session(head), session(graphs.tail(quantised, split)), images, THRESHOLD)
    assert found_exits.tolist() == (exits + 1).tolist()
    assert found_labels.tolist() == labels.tolist()


def test_the_tail_in_stages_answers_as_the_flat_tail(quantised):
    model = graphs.tail(quantised, 1)
    flat = session(model)
    staged = StagedTail(model.SerializeToString(), lambda stage: session(onnx.load_from_string(stage)))
    assert len(staged.ends) == 2
    activation = np.random.default_rng(0).random((40, *quantised.shapes[0]), np.float32)
    for threshold in (0.0, 0.5, 1.01):
        limits = np.full((40, 1), threshold, np.float32)
        expected = flat.run(["label", "confidence", "exit"], {"activation": activation, "threshold": limits})
        for found, right in zip(staged.run(activation, limits), expected, strict=True):
            assert np.array_equal(found, right)


def test_coefficients_give_the_activation_of_the_head(quantised):
    steps = tiny.TABLE.steps.astype(np.float32)
    frame, defq = tiny.frames()[0], DefQ(steps)
    table = steps_of(steps)
    feed = {"coefficients": packed_coefficients(defq.levels(frame), 3, table), "steps": table}
    found = session(coefficients.graph(quantised, 2, tiny.SHAPE)).run(None, feed)[0]
    image = defq.planes(frame)[None] / np.float32(255)
    head = session(graphs.flat_head(quantised, 2, tiny.SHAPE))
    expected = head.run(["activation"], {"image": image, "threshold": np.full(1, 2, np.float32)})[0]
    np.testing.assert_array_equal(found, expected)


def test_what_a_cut_hands_over_is_uint8_in_one_row_and_nothing_is_computed_twice(quantised):
    handover = cheapest_handover(quantised, 3)
    assert not handover.repeat_first_block
    head = graphs.nested_head(handover.exported, 3, tiny.SHAPE, THRESHOLD, handover.cuts)
    makers = {output: node for node in head.graph.node for output in node.output}
    assert makers["features0"].op_type == "QuantizeLinear"
    assert (makers["features0/row"].op_type, makers["features0/row"].input[0]) == ("Reshape", "features0")
    cut = next(node for node in head.graph.node if node.op_type == "If")
    branch = next(each.g for each in cut.attribute if each.name == "then_branch")
    inner = [each for node in branch.node for each in node.input]
    assert "features0/row" in inner
    assert "features0" not in inner
    assert (head.ir_version, head.opset_import[0].version) == (parts.IR_VERSION, parts.OPSET)


def test_weights_are_int8_with_a_scale_for_each_channel(quantised):
    weights = {each.name: each for block in quantised.blocks for each in block.weights}
    kernels = [each for each in weights.values() if len(each.dims) == 4]
    assert [each.data_type for each in kernels] == [onnx.TensorProto.INT8] * 4
    node = next(n for n in quantised.blocks[1].nodes if n.op_type == "DequantizeLinear" and n.input[0] in weights)
    assert weights[node.input[1]].dims == weights[node.input[0]].dims[:1]


def test_a_first_block_of_one_convolution_is_quantised_and_the_pixels_of_a_camera_are_not_rounded(quantised):
    nodes = quantised.blocks[0].nodes
    weights = {each.name: each for each in quantised.blocks[0].weights}
    assert next(node for node in nodes if node.op_type == "Conv").input[0] == "pixels_DequantizeLinear_Output"
    assert onnx.numpy_helper.to_array(weights["pixels_scale"]) == pytest.approx(1 / 255)


def test_the_first_convolution_and_depthwise_ones_behind_it_stay_float32(images):
    network = mobilenet(3, (32, 32)).eval()
    blocks = quantised_blocks(
        parts.export_blocks(network), network.input_shape, images.repeat(2, 2).repeat(2, 3)
    ).blocks
    reads_float = [node for node in blocks[0].nodes if node.op_type == "Conv" and "Dequantize" not in node.input[0]]
    assert len(reads_float) == 2
    assert [node.op_type for node in blocks[1].nodes].count("QuantizeLinear") == 2  # behind each of its convolutions


def random_blocks(family, side, exits=None):
    """Float32 blocks and the same in 8 bits, of a network with random weights, and frames of its size."""
    network = random_network(family, side)
    network = network if exits is None else with_exits(network, exits).eval()
    frames = comparison_frames(None, (side, side), 20)[0]
    exported = parts.export_blocks(network)
    return (
        exported,
        quantised_blocks(exported, network.input_shape, to_tensor(frames).numpy()),
        network.input_shape,
        frames,
    )


@pytest.mark.parametrize(
    ("family", "side", "exits"),
    [("mobilenet", 32, None), ("efficientnet_lite0", 64, (1, 2, 3, 6)), ("resnet56", 32, (1, 2, 10))],
)
def test_heads_of_real_networks_answer_as_the_whole_network(family, side, exits):
    _, quantised, shape, frames = random_blocks(family, side, exits)
    whole = graph_scores(quantised, shape, frames)
    threshold = float(np.median(whole.confidences[:3]))
    handover = cheapest_handover(quantised, 3)
    head = session(graphs.nested_head(handover.exported, 3, shape, threshold, handover.cuts))
    expected, labels = early_exit(whole, threshold)
    found_exits, found_labels, _ = run_split(
        head, session(graphs.tail(quantised, 3)), to_tensor(frames).numpy(), threshold
    )
    assert found_exits.tolist() == (expected + 1).tolist()
    assert found_labels.tolist() == labels.tolist()


def test_a_first_block_that_hands_over_little_stays_float32():
    exported, quantised, shape, frames = random_blocks("efficientnet_lite0", 64, (1, 2, 3))
    assert quantised.grids[0] is None
    assert quantised.grids[1] is not None
    assert not {node.op_type for node in quantised.blocks[0].nodes} & {"QuantizeLinear", "DequantizeLinear"}
    assert "QuantizeLinear" in {node.op_type for node in quantised.blocks[1].nodes}
    first, same = graph_scores(quantised, shape, frames), graph_scores(exported, shape, frames)
    np.testing.assert_allclose(first.confidences[0], same.confidences[0], atol=1e-6)
    np.testing.assert_allclose(first.confidences, same.confidences, atol=0.1)


def test_a_block_in_8_bits_starts_before_the_cut_where_that_leaves_less_to_hand_over():
    _, quantised, shape, _ = random_blocks("mobilenet", 32)
    moved = cheapest_handover(quantised, 3).exported
    assert [node.op_type for node in moved.exits[0].nodes].count("Conv") == 2  # an average, and the start of block 2
    head = graphs.nested_head(moved, 3, shape, THRESHOLD)
    makers = {output: node.op_type for node in head.graph.node for output in node.output}
    assert makers["started1/row"] == "Reshape"
    assert makers["started1"] == "QuantizeLinear"
    names = [weight.name for each in (*moved.blocks[:3], *moved.exits[:3]) for weight in each.weights]
    assert len(names) == len(set(names))  # a branch may not use the name of a weight again


def test_a_maximum_between_float32_layers_and_those_in_8_bits_stays_float32():
    """ResNet for larger images has a pool in its stem. ONNX Runtime would move what quantises its output to its input."""
    exported, quantised, shape, frames = random_blocks("resnet56", 64, (1, 2))
    operators = [node.op_type for node in quantised.blocks[0].nodes]
    place = operators.index("MaxPool")
    assert operators[place + 1 : place + 3] == ["AveragePool", "QuantizeLinear"]
    found, same = graph_scores(quantised, shape, frames), graph_scores(exported, shape, frames)
    np.testing.assert_allclose(found.confidences, same.confidences, atol=0.1)


@pytest.mark.parametrize(("family", "convolutions"), [("mobilenet", 1), ("resnet56", 2)])
def test_an_exit_pools_its_map_in_8_bits(family, convolutions):
    """Behind an addition, one more convolution brings the map into the layout that ONNX Runtime pools fast, and changes nothing."""
    exported, quantised, shape, frames = random_blocks(family, 32, (1, 2, 3))
    assert {"AveragePool", "MaxPool"} <= {node.op_type for node in exported.exits[1].nodes}
    nodes = quantised.exits[1].nodes
    operators = [node.op_type for node in nodes]
    assert "AveragePool" not in operators
    assert operators.count("Conv") == convolutions
    channels = exported.shapes[1][0]
    assert {each.i for node in nodes for each in node.attribute if each.name == "group"} == {channels}
    assert not any("features1" in node.input for node in nodes[-5:])
    found, same = graph_scores(quantised, shape, frames), graph_scores(exported, shape, frames)
    np.testing.assert_allclose(found.confidences, same.confidences, atol=0.1)
