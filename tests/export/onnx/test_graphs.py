"""The graphs of a bundle against PyTorch and NumPy."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from device.bundle.reader import load_bundle
from device.defence.defq import DefQ
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.errors import DataError, UsageError
from device.payload.forms.coefficients import packed_coefficients, steps_of
from device.payload.forms.uint8 import quantised, restored
from export.bundle.graph_set import LEVELS, activation_levels
from export.bundle.settings import BundleSettings
from export.bundle.writer import write_bundle
from export.calibration.cost import ExitScores, early_exit, score
from export.networks.weights import to_tensor
from export.onnx import graphs, parts
from export.onnx.defq import defq_nodes
from export.onnx.forms import coefficients, uint8
from export.onnx.parity import TIE, check_defq, check_exits, compare_pixels, pixels_of, run_split, session, tied
from tests import tiny
from tests.tiny import DATA

THRESHOLD = 0.62


@pytest.fixture(scope="module")
def network():
    return tiny.network()


@pytest.fixture(scope="module")
def exported(network):
    return parts.export_blocks(network)


@pytest.mark.parametrize("split", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("form", ["all cuts", "again", "no cut", "cut after 2", "flat"])
def test_every_form_of_the_head_agrees_with_pytorch(network, exported, split, form):
    if form == "flat":
        head = graphs.flat_head(exported, split, tiny.SHAPE)
    else:
        cuts = {"no cut": [], "cut after 2": [2] if split > 2 else []}.get(form)
        head = graphs.nested_head(exported, split, tiny.SHAPE, THRESHOLD, cuts, repeat_first_block=form == "again")
    exits, labels = early_exit(score(network, tiny.frames()), THRESHOLD)
    images = to_tensor(tiny.frames()).numpy()
    tail = session(graphs.tail(exported, split)) if split < 5 else None  # with 5, the head is the whole network
    found_exits, found_labels, _ = run_split(session(head), tail, images, THRESHOLD)
    assert found_exits.tolist() == (exits + 1).tolist()
    assert found_labels.tolist() == labels.tolist()


def test_the_flat_head_has_no_default_threshold(exported):
    """TensorRT would take it for a constant."""
    head = session(graphs.flat_head(exported, 2, tiny.SHAPE))
    assert [each.name for each in head.get_inputs()] == ["image", "threshold"]
    assert head.get_overridable_initializers() == []


def test_flat_graphs_take_any_batch(network, exported):
    exits, labels = early_exit(score(network, tiny.frames()), THRESHOLD)
    head = session(graphs.flat_head(exported, 2, tiny.SHAPE))
    feed = {"image": to_tensor(tiny.frames()).numpy(), "threshold": np.full(1, THRESHOLD, np.float32)}
    label, _, exit_, activation = head.run(None, feed)
    answers = session(graphs.tail(exported, 2)).run(
        None, {"activation": activation, "threshold": np.full((60, 1), THRESHOLD, np.float32)}
    )
    assert np.where(exit_ == 0, answers[2], exit_).tolist() == (exits + 1).tolist()
    assert np.where(exit_ == 0, answers[0], label).tolist() == labels.tolist()


def test_thresholds_differ_by_frame_in_one_batch(exported):
    tail = session(graphs.tail(exported, 2))
    activation = np.random.default_rng(0).normal(size=(2, 6, 8, 8)).astype(np.float32)
    exits = tail.run(["exit"], {"activation": activation, "threshold": np.array([[0.0], [1.0]], np.float32)})[0]
    assert exits.tolist() == [3, 5]


def test_blocks_behind_a_cut_sit_in_the_branch_with_their_weights(exported):
    head = graphs.nested_head(exported, 3, tiny.SHAPE, THRESHOLD)
    outer = [node.op_type for node in head.graph.node]
    assert outer.count("Conv") == 1
    branch = next(
        attribute.g
        for node in head.graph.node
        if node.op_type == "If"
        for attribute in node.attribute
        if attribute.name == "then_branch"
    )
    assert sum(node.op_type == "Conv" for node in branch.node) == 1
    assert any(len(weight.dims) == 4 for weight in branch.initializer)
    assert head.ir_version <= 8
    assert head.opset_import[0].version <= 13


def test_defq_inside_the_head_equals_numpy_and_can_be_switched_off(network, exported):
    table = tiny.TABLE.steps
    head = graphs.nested_head(exported, 2, tiny.SHAPE, THRESHOLD, table=table)
    check_defq(head, table, tiny.frames(), "frames")
    wrong = table + 1
    with pytest.raises(DataError, match="differs from NumPy"):
        check_defq(head, wrong, tiny.frames(), "frames")
    # run_split switches DefQ off
    exits, _ = early_exit(score(network, tiny.frames()), THRESHOLD)
    found, _, _ = run_split(
        session(head), session(graphs.tail(exported, 2)), to_tensor(tiny.frames()).numpy(), THRESHOLD
    )
    assert found.tolist() == (exits + 1).tolist()


def test_defq_inside_the_head_pads_sizes_that_are_no_multiple_of_eight():
    table = tiny.TABLE.steps
    frames = np.random.default_rng(0).integers(0, 256, (5, 13, 21, 3)).astype(np.uint8)
    nodes = defq_nodes(table, (3, 13, 21))
    info = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 13, 21])
        for name in ("image", "quantised")
    ]
    graph = onnx.helper.make_graph(nodes.nodes, "defq", info[:1], info[1:], nodes.weights)
    run = session(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=7))
    for frame in frames:
        out = run.run(None, {"image": to_tensor(frame[None]).numpy()})[0][0]
        compare_pixels("DefQ", [out], [DefQ(table).planes(frame)], [frame], table, "frames")


TABLE = tiny.TABLE.steps.astype(np.float32)


@pytest.mark.parametrize("split", [1, 2, 3, 4])
@pytest.mark.parametrize("levels", [63, 255])
def test_a_host_restores_uint8_as_numpy_does_to_the_bit(exported, split, levels):
    head = session(graphs.nested_head(exported, split, tiny.SHAPE, THRESHOLD))
    back = session(uint8.graph(exported, split, tiny.SHAPE))
    for image in to_tensor(tiny.frames()[:20]).numpy():
        feed = {"image": image[None], "threshold": np.full(1, 2, np.float32)}
        packed = quantised(head.run(["activation"], feed)[0], levels)
        found = back.run(None, {"activation_uint8": packed.values, "activation_range": packed.range})[0]
        np.testing.assert_array_equal(found, restored(packed))


def test_the_head_gives_the_answer_and_the_activation_and_nothing_else(exported):
    """What only one payload form needs would be computed for every frame that stays."""
    head = session(graphs.nested_head(exported, 3, tiny.SHAPE, THRESHOLD))
    assert tuple(each.name for each in head.get_outputs()) == graphs.OUTPUTS
    feed = {"image": to_tensor(tiny.frames()[:1]).numpy(), "threshold": np.zeros(1, np.float32)}
    assert head.run(["activation"], feed)[0].shape == (0, *exported.shapes[2])


def test_heads_of_older_bundles_that_quantise_still_run(exported, tmp_path):
    """They give ``activation_uint8`` and ``activation_range`` too, which the device does not ask for any more."""
    bundle = load_bundle(str(tiny.write(tmp_path / "new")))
    older = onnx.load_from_string(bundle.read("head"))
    for name, kind in (("activation_uint8", onnx.TensorProto.UINT8), ("activation_range", onnx.TensorProto.FLOAT)):
        older.graph.node.append(onnx.helper.make_node("Cast", ["activation"], [name], to=kind))
        older.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))

    class Older:
        path, manifest, defq_fused, has_tail = bundle.path, bundle.manifest, False, True
        precision = bundle.precision

        def read(self, graph):
            return older.SerializeToString()

    old, new = OnnxRuntimeEngine(Older(), 1), OnnxRuntimeEngine(bundle, 1)
    for image in to_tensor(tiny.frames()).numpy():
        found, expected = (engine.run(image[None], THRESHOLD) for engine in (old, new))
        assert found[:3] == expected[:3]
        np.testing.assert_array_equal(found.activation, expected.activation)


def test_the_manifest_says_what_goes_into_each_graph_and_what_comes_out(tmp_path):
    bundle = load_bundle(str(tiny.write(tmp_path / "b", BundleSettings(2, fuse_defq=True))))
    for name, described in bundle.manifest["graphs"].items():
        graph = onnx.load_from_string(bundle.read(name)).graph
        assert described["inputs"] == [each.name for each in graph.input]
        assert described["outputs"] == [each.name for each in graph.output]
    assert bundle.manifest["graphs"]["head"]["inputs"] == ["image", "threshold", "defq"]


@pytest.mark.parametrize("split", [1, 3])
def test_coefficients_give_the_pixels_of_defq_and_the_blocks_behind_them(network, exported, split):
    model = coefficients.graph(exported, split, tiny.SHAPE)
    frames, defq = tiny.frames(), DefQ(TABLE)
    packed = np.concatenate([packed_coefficients(defq.levels(frame), 3, steps_of(TABLE)) for frame in frames])
    feed = {"coefficients": packed, "steps": np.repeat(steps_of(TABLE), len(frames), axis=0)}
    pixels = pixels_of(model).run(None, feed)[0]
    expected = [defq.planes(frame).copy() for frame in frames]
    compare_pixels("coefficients", list(pixels), expected, list(frames), TABLE, "frames")
    flat = session(graphs.flat_head(exported, split, tiny.SHAPE))
    activation = flat.run(["activation"], {"image": pixels, "threshold": np.zeros(1, np.float32)})[0]
    np.testing.assert_allclose(session(model).run(None, feed)[0], activation, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 13, 21), (1, 8, 8), (3, 40, 3)])
def test_pixels_of_other_sizes_and_tables_in_one_batch(shape):
    part = coefficients.rebuilt_pixels(shape)
    blocks = shape[0] * -(-shape[1] // 8) * -(-shape[2] // 8)
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        part.nodes,
        "pixels",
        [
            tensor("coefficients", onnx.TensorProto.INT8, ["n", 64, blocks]),
            tensor("steps", onnx.TensorProto.UINT8, ["n", 64]),
        ],
        [tensor("pixels", onnx.TensorProto.FLOAT, ["n", *shape])],
        part.weights,
    )
    run = session(parts.model(graph, ""))
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 256, (*shape[1:], shape[0])).astype(np.uint8) for _ in range(8)]
    frames += [np.broadcast_to(np.array([255, 0, 255][: shape[0]], np.uint8), (*shape[1:], shape[0]))]
    tables = [TABLE + number - 11 for number in range(len(frames))]  # from 9
    quantisers = [DefQ(table) for table in tables]
    packed = [
        packed_coefficients(each.levels(frame), shape[0], steps_of(each.table))
        for each, frame in zip(quantisers, frames, strict=True)
    ]
    feed = {"coefficients": np.concatenate(packed), "steps": np.concatenate([steps_of(table) for table in tables])}
    for found, defq, frame in zip(run.run(None, feed)[0], quantisers, frames, strict=True):
        compare_pixels("coefficients", [found], [defq.planes(frame)], [frame], defq.table, "frames")


def test_levels_are_the_finest_that_take_a_seventh(exported):
    head = graphs.flat_head(exported, 2, tiny.SHAPE)
    assert activation_levels(head, tiny.frames()[:20]) in LEVELS
    assert (
        activation_levels(head, np.zeros((20, 16, 16, 3), np.uint8)) == 255
    )  # the same everywhere, and small in any case


def test_export_leaves_the_network_in_evaluation_mode_and_unchanged(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parts.export_blocks(network)
    assert not any(module.training for module in network.modules())
    assert all((before[name] == value).all() for name, value in network.state_dict().items())


def test_an_export_that_disagrees_fails(network, exported):
    other = tiny.network()
    for parameter in other.ics[0].parameters():
        parameter.data.neg_()
    models = {name: graphs.flat_head(exported, 2, tiny.SHAPE) for name in ("head", "head_flat")}
    models["tail"] = graphs.tail(exported, 2)
    with pytest.raises(DataError, match="agree with PyTorch on"):
        check_exits(other, models, 2, THRESHOLD, tiny.frames(), "frames")


def test_frames_at_the_threshold_are_not_compared(network):
    scores = score(network, tiny.frames())
    exits, _ = early_exit(scores, THRESHOLD)
    at = int(np.flatnonzero(exits == 1)[0])
    for threshold in (float(scores.confidences[1, at]), float(scores.confidences[1, at]) - TIE / 2):
        found = tied(scores, early_exit(scores, threshold)[0], threshold)
        assert found[at]
        assert found.sum() < 10
    below = float(scores.confidences[1, at]) - 2 * TIE
    assert not tied(scores, early_exit(scores, below)[0], below)[at]
    # what a frame would have done after it left does not matter
    late = ExitScores(np.array([[0.9], [0.5], [0.7]]), np.zeros((3, 1), int))
    assert not tied(late, np.array([0]), 0.5)[0]
    assert tied(late, np.array([1]), 0.5)[0]


def test_a_head_that_is_the_whole_network_hands_nothing_over(exported):
    for head in (graphs.nested_head(exported, 5, tiny.SHAPE, THRESHOLD), graphs.flat_head(exported, 5, tiny.SHAPE)):
        assert [each.name for each in head.graph.output] == ["label", "confidence", "exit"]
        exits = session(head).run(
            ["exit"], {"image": np.zeros((1, *tiny.SHAPE), np.float32), "threshold": np.full(1, 2, np.float32)}
        )
        assert exits[0].tolist() == [5]


@pytest.mark.parametrize(("name", "split"), [("tiny_bundle", 2), ("whole_bundle", None)])
def test_committed_bundle_is_what_the_exporter_writes(tmp_path, name, split):
    folder = tiny.write(tmp_path / "b", BundleSettings(split=split))
    written, committed = load_bundle(str(folder)), load_bundle(str(DATA / name))
    assert written.manifest["thresholds"] == committed.manifest["thresholds"]
    np.testing.assert_allclose(written.relative_costs, committed.relative_costs)
    assert written.graphs == committed.graphs
    assert written.activation_levels == committed.activation_levels
    for graph in written.graphs:
        new, old = (onnx.load_from_string(bundle.read(graph)) for bundle in (written, committed))
        assert [node.op_type for node in new.graph.node] == [node.op_type for node in old.graph.node]
        assert (new.ir_version, new.opset_import[0].version) == (7, 13)


def test_bundles_of_other_tables_splits_and_folders(tmp_path, network):
    card = replace(tiny.card(network), weights_sha256="a" * 64)
    with pytest.raises(DataError, match="found a table learned on weights bbbb"):
        write_bundle(
            "tiny",
            network,
            card,
            replace(tiny.TABLE, weights_sha256="b" * 64),
            tmp_path / "b",
            BundleSettings(2),
            tiny.frames(),
        )
    with pytest.raises(UsageError, match="expected 1 to 4, the internal classifiers of tiny, or all"):
        tiny.write(tmp_path / "b", BundleSettings(split=5))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(UsageError, match="other files"):
        tiny.write(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"
    tiny.write(tmp_path / "b")
    tiny.write(tmp_path / "b")  # an earlier bundle is replaced
