import numpy as np
import onnx
import pytest

from device.bundle import load_bundle
from device.errors import DataError, UsageError
from device.quantization import DefQ
from export import graphs, pieces
from export.bundle import BundleSettings, _macs_per_value, write_bundle
from export.calibration import early_exit, score
from export.graph_defq import defq_nodes
from export.networks import NETWORKS
from export.parity import check_defq, check_exits, run_split, session
from export.weights import to_tensor
from tests import tiny
from tests.tiny import DATA

THRESHOLD = 0.62


@pytest.fixture(scope="module")
def network():
    return tiny.network()


@pytest.fixture(scope="module")
def parts(network):
    return pieces.stages(network)


@pytest.mark.parametrize("split", [1, 2, 3, 4])
@pytest.mark.parametrize("form", ["all cuts", "again", "no cut", "cut after 2", "flat"])
def test_every_form_of_the_head_agrees_with_pytorch(network, parts, split, form):
    if form == "flat":
        head = graphs.flat_head(parts, split, tiny.SHAPE, THRESHOLD)
    else:
        cuts = {"no cut": [], "cut after 2": [2] if split > 2 else []}.get(form)
        head = graphs.nested_head(parts, split, tiny.SHAPE, THRESHOLD, cuts, again=form == "again")
    exits, labels = early_exit(score(network, tiny.frames()), THRESHOLD)
    images = to_tensor(tiny.frames()).numpy()
    found_exits, found_labels, _ = run_split(session(head), session(graphs.tail(parts, split)), images, THRESHOLD)
    assert found_exits.tolist() == (exits + 1).tolist()
    assert found_labels.tolist() == labels.tolist()


def test_flat_graphs_take_any_batch(network, parts):
    exits, labels = early_exit(score(network, tiny.frames()), THRESHOLD)
    head = session(graphs.flat_head(parts, 2, tiny.SHAPE, THRESHOLD))
    label, _, exit_, activation = head.run(None, {"image": to_tensor(tiny.frames()).numpy()})
    answers = session(graphs.tail(parts, 2)).run(
        None, {"activation": activation, "threshold": np.full((60, 1), THRESHOLD, np.float32)}
    )
    assert np.where(exit_ == 0, answers[2], exit_).tolist() == (exits + 1).tolist()
    assert np.where(exit_ == 0, answers[0], label).tolist() == labels.tolist()


def test_thresholds_differ_by_frame_in_one_batch(parts):
    tail = session(graphs.tail(parts, 2))
    activation = np.random.default_rng(0).normal(size=(2, 6, 8, 8)).astype(np.float32)
    exits = tail.run(["exit"], {"activation": activation, "threshold": np.array([[0.0], [1.0]], np.float32)})[0]
    assert exits.tolist() == [3, 5]


def test_blocks_behind_a_cut_sit_in_the_branch_with_their_weights(parts):
    head = graphs.nested_head(parts, 3, tiny.SHAPE, THRESHOLD)
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


def test_defq_inside_the_head_equals_numpy_and_can_be_switched_off(network, parts):
    table = np.array(tiny.TABLE["table"])
    head = graphs.nested_head(parts, 2, tiny.SHAPE, THRESHOLD, table=table)
    check_defq(head, table, tiny.frames(), "frames")
    wrong = table + 1
    with pytest.raises(DataError, match="differs from NumPy"):
        check_defq(head, wrong, tiny.frames(), "frames")
    # run_split switches DefQ off
    exits, _ = early_exit(score(network, tiny.frames()), THRESHOLD)
    found, _, _ = run_split(session(head), session(graphs.tail(parts, 2)), to_tensor(tiny.frames()).numpy(), THRESHOLD)
    assert found.tolist() == (exits + 1).tolist()


def test_defq_inside_the_head_pads_sizes_that_are_no_multiple_of_eight():
    table = np.array(tiny.TABLE["table"])
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
        np.testing.assert_array_equal(np.rint(out * 255).astype(np.uint8), DefQ(table).planes(frame))


def test_export_leaves_the_network_in_evaluation_mode_and_unchanged(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pieces.stages(network)
    assert not any(module.training for module in network.modules())
    assert all((before[name] == value).all() for name, value in network.state_dict().items())


def test_an_export_that_disagrees_fails(network, parts):
    other = tiny.network()
    for parameter in other.ics[0].parameters():
        parameter.data.neg_()
    models = {name: graphs.flat_head(parts, 2, tiny.SHAPE, THRESHOLD) for name in ("head", "head_flat")}
    models["tail"] = graphs.tail(parts, 2)
    with pytest.raises(DataError, match="agree with PyTorch on"):
        check_exits(other, models, 2, THRESHOLD, tiny.frames(), "frames")


def test_committed_bundle_is_what_the_exporter_writes(tmp_path):
    written, committed = load_bundle(str(tiny.write(tmp_path / "b"))), load_bundle(str(DATA / "tiny_bundle"))
    assert written.manifest["thresholds"] == committed.manifest["thresholds"]
    np.testing.assert_allclose(written.relative_costs, committed.relative_costs)
    new, old = (onnx.load_from_string(bundle.read("head")) for bundle in (written, committed))
    assert [node.op_type for node in new.graph.node] == [node.op_type for node in old.graph.node]


def test_bundles_of_other_tables_splits_and_folders(tmp_path, network):
    card = {**tiny.card(network), "weights_sha256": "a" * 64}
    with pytest.raises(DataError, match="found a table learned on weights bbbb"):
        write_bundle(
            "tiny",
            network,
            card,
            {**tiny.TABLE, "weights_sha256": "b" * 64},
            tmp_path / "b",
            BundleSettings(2),
            tiny.frames(),
        )
    with pytest.raises(UsageError, match="expected 1 to 4"):
        tiny.write(tmp_path / "b", BundleSettings(split=5))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(UsageError, match="other files"):
        tiny.write(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"
    tiny.write(tmp_path / "b")
    tiny.write(tmp_path / "b")  # an earlier bundle is replaced


def test_only_vgg_computes_its_first_block_twice():
    cost = {name: _macs_per_value(pieces.stages(make())) for name, make in NETWORKS.items()}
    assert cost == {"vgg16": 27, "resnet56": 315, "mobilenet": 50}
