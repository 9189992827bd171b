"""Reading a bundle: what is in it, what may be absent, and every damage told in one sentence."""

import hashlib
import json
import os
import tarfile

import numpy as np
import pytest

from device.bundle.onnx_file import external_tensor
from device.bundle.reader import load_bundle, pack_bundle
from device.commands.cli import main
from device.defence.ceiling import CeilingSettings
from device.errors import BundleError, UsageError


def manifest_of(folder):
    with open(os.path.join(folder, "manifest.json")) as file:
        return json.load(file)


def write_manifest(folder, manifest):
    with open(os.path.join(folder, "manifest.json"), "w") as file:
        json.dump(manifest, file)


def test_reads_what_the_export_wrote(bundle):
    assert bundle.id.startswith("tiny-split2-")
    assert (bundle.input_shape, bundle.activation_shape) == ((3, 16, 16), (6, 8, 8))
    assert bundle.labels == ["circle", "square", "star"]
    assert bundle.table.shape == (8, 8)
    assert bundle.relative_costs[-1] == pytest.approx(1)
    assert bundle.threshold(5) == pytest.approx(0.62)
    assert len(bundle.read("head")) > 1000


def test_fewer_labels_than_logits_is_one_sentence(bundle_folder, frames, tmp_path, monkeypatch, capsys):
    """The graphs do not name their number of classes, so that a missing label shows only with the first frame of its class."""
    two = b"circle\nsquare\n"
    with open(os.path.join(bundle_folder, "labels.txt"), "wb") as file:
        file.write(two)
    manifest = manifest_of(bundle_folder)
    manifest["labels"] = ["circle", "square"]
    manifest["files"]["labels.txt"] = {"sha256": hashlib.sha256(two).hexdigest(), "bytes": len(two)}
    write_manifest(bundle_folder, manifest)
    bundle = load_bundle(bundle_folder)
    assert bundle.label_name(1) == "square"
    for label in (2, -1):
        with pytest.raises(
            BundleError, match=r"found label -?\d from the graphs of .*, whose labels.txt names 2 classes"
        ):
            bundle.label_name(label)
    monkeypatch.setattr("device.commands.run.stop_on_signals", lambda: None)  # pytest's own handlers should survive
    source = str(tmp_path / "frames.npz")
    np.savez(source, frames=frames)
    assert main(["run", "--bundle", bundle_folder, "--source", "npz:" + source, "--threads", "1"]) == 3
    assert "labels.txt names 2 classes, 0 to 1; expected a name for each class" in capsys.readouterr().err


def test_unknown_rad_names_the_known_ones(bundle):
    with pytest.raises(UsageError, match=r"found --rad 7; expected 5 or 10"):
        bundle.threshold(7)


def test_an_archive_gives_the_same_bundle_as_its_folder(bundle, bundle_folder, tmp_path):
    archive = str(tmp_path / "bundle.tar.gz")
    pack_bundle(bundle_folder, archive)
    packed = load_bundle(archive)
    assert packed.id == bundle.id
    np.testing.assert_array_equal(packed.table, bundle.table)
    assert set(packed.graphs) == {"head", "head_flat", "tail", "from_uint8", "from_coefficients"}
    assert all(packed.read(graph) == bundle.read(graph) for graph in packed.graphs)


@pytest.mark.parametrize("name", ["head.onnx", "head_flat.onnx", "tail.onnx", "table.json", "labels.txt"])
def test_one_changed_byte_is_found(bundle_folder, name):
    path = os.path.join(bundle_folder, name)
    with open(path, "r+b") as file:
        file.seek(5)
        byte = file.read(1)
        file.seek(5)
        file.write(bytes([byte[0] ^ 1]))
    graphs = {"head.onnx": "head", "head_flat.onnx": "head_flat", "tail.onnx": "tail"}
    with pytest.raises(BundleError, match="SHA-256 .* in {} of bundle .* its manifest says".format(name)):
        load_bundle(bundle_folder).read(graphs[name])


@pytest.mark.parametrize("name", ["head.onnx", "labels.txt", "manifest.json"])
def test_a_missing_file_is_named(bundle_folder, name):
    os.remove(os.path.join(bundle_folder, name))
    with pytest.raises(BundleError, match="could not read .*" + name):
        load_bundle(bundle_folder).read("head")


def test_a_head_that_was_cut_off_is_named(bundle_folder):
    with open(os.path.join(bundle_folder, "head.onnx"), "r+b") as file:
        file.truncate(100)
    with pytest.raises(BundleError, match="found 100 bytes"):
        load_bundle(bundle_folder).read("head")


def test_newer_version_names_both(bundle_folder):
    write_manifest(bundle_folder, dict(manifest_of(bundle_folder), format_version=3))
    with pytest.raises(BundleError, match="found format version 3 .* reads versions 1 and 2"):
        load_bundle(bundle_folder)


@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch", None])
def test_how_frames_are_fitted(bundle_folder, fit):
    manifest = manifest_of(bundle_folder)
    manifest["input"].pop("fit", None)  # as in bundles of earlier releases
    if fit is not None:
        manifest["input"]["fit"] = fit
    write_manifest(bundle_folder, manifest)
    assert load_bundle(bundle_folder).fit == (fit or "stretch")


def test_the_ceiling_of_cameras(bundle_folder):
    manifest = manifest_of(bundle_folder)
    facts = {"share": 0.5, "stays": 0.3, "lost": 0.008, "of a later release": 1}
    write_manifest(bundle_folder, dict(manifest, ceiling={"gain": 0.05, "modes": {"5": {"off": facts}, "7": {}}}))
    assert load_bundle(bundle_folder).ceiling == {5: CeilingSettings({"off": 0.5}, 0.05)}


@pytest.mark.parametrize("fit", ["zoom", None, 3, ["crop"], {"crop": 1}])
def test_an_unknown_fit_is_one_sentence(bundle_folder, fit):
    manifest = manifest_of(bundle_folder)
    manifest["input"]["fit"] = fit
    write_manifest(bundle_folder, manifest)
    with pytest.raises(BundleError, match="fits frames by .*; expected crop, letterbox or stretch; update"):
        load_bundle(bundle_folder)


def test_a_tail_of_another_bundle_is_refused(bundle_folder):
    manifest = manifest_of(bundle_folder)
    manifest["files"]["tail.onnx"]["sha256"] = "ab" * 32
    write_manifest(bundle_folder, manifest)
    with pytest.raises(BundleError, match="found the tail abababab in bundle .* whose id is tiny-split2-"):
        load_bundle(bundle_folder)


STEPS = [[30] * 8] * 8


def test_bundles_without_a_gate_have_none(bundle):
    assert bundle.gate is None


def test_gate_and_nothing_else_changes(gated_folder, bundle, tmp_path):
    archive = str(tmp_path / "bundle.tar.gz")
    pack_bundle(gated_folder, archive)
    for gated in (load_bundle(gated_folder), load_bundle(archive)):
        (stage,) = gated.gate.stages
        assert (stage.level, stage.thresholds) == (1.5, {5: 0.5, 10: 0.4})
        assert stage.table.dtype == np.float32
        np.testing.assert_array_equal(stage.table, np.full((8, 8), 30))
        np.testing.assert_array_equal(gated.table, bundle.table)
        assert (gated.id, gated.thresholds) == (bundle.id, bundle.thresholds)


def test_gate_may_know_more_rads_than_the_bundle(bundle_folder, write_gate):
    write_gate(bundle_folder, {"level": 0, "thresholds": {"5": 0, "10": 1, "15": 0.3}, "table": STEPS})
    (stage,) = load_bundle(bundle_folder).gate.stages
    assert (stage.level, stage.thresholds) == (0.0, {5: 0.0, 10: 1.0, 15: 0.3})


def test_gate_with_a_weak_stage(bundle_folder, write_gate):
    weak = {"level": 0.5, "thresholds": {"5": 0.6, "10": 0.5}, "table": [[12] * 8] * 8}
    write_gate(bundle_folder, {"level": 1, "thresholds": {"5": 0.5, "10": 0.4}, "table": STEPS, "weak": weak})
    strong, second = load_bundle(bundle_folder).gate.stages
    assert (strong.level, second.level, second.thresholds[10], second.table[0, 0]) == (1.0, 0.5, 0.5, 12)


THRESHOLDS = {"5": 0.5, "10": 0.4}
GOOD = {"level": 1.1, "thresholds": THRESHOLDS, "table": STEPS}
GATES = {
    "null": (None, "TypeError"),
    "list": ([1.1, THRESHOLDS, STEPS], "TypeError"),
    "no level": ({"thresholds": THRESHOLDS, "table": STEPS}, "'level'"),
    "no thresholds": ({"level": 1.1, "table": STEPS}, "'thresholds'"),
    "no table": ({"level": 1.1, "thresholds": THRESHOLDS}, "'table'"),
    "level null": (dict(GOOD, level=None), "TypeError"),
    "level in words": (dict(GOOD, level="high"), "high"),
    "level NaN": (dict(GOOD, level=float("nan")), "found level nan"),
    "level infinite": (dict(GOOD, level=float("inf")), "found level inf"),
    "level negative": (dict(GOOD, level=-0.1), "found level -0.1"),
    "level huge": (dict(GOOD, level=10**400), "OverflowError"),
    "one threshold": (dict(GOOD, thresholds=0.5), "AttributeError"),
    "threshold above one": (dict(GOOD, thresholds={"5": 0.5, "10": 1.1}), "found thresholds .*1.1"),
    "threshold below zero": (dict(GOOD, thresholds={"5": -0.5, "10": 0.4}), "found thresholds .*-0.5"),
    "threshold NaN": (dict(GOOD, thresholds={"5": float("nan"), "10": 0.4}), "found thresholds .*nan"),
    "RAD in words": (dict(GOOD, thresholds={"five": 0.5, "10": 0.4}), "five"),
    "RAD missing": (dict(GOOD, thresholds={"5": 0.5}), "found no threshold for RAD 10"),
    "table of seven rows": (dict(GOOD, table=STEPS[:7]), r"shape \(7, 8\)"),
    "table with a zero": (dict(GOOD, table=[[0] * 8] * 8), "steps from 0 to 0"),
    "weak above strong": (dict(GOOD, weak=GOOD), "weak level of 1.1"),
    "weak without a table": (dict(GOOD, weak={"level": 0.5, "thresholds": THRESHOLDS}), "'table'"),
    "table in words": (dict(GOOD, table="fine"), "DataError"),
}


@pytest.mark.parametrize("case", sorted(GATES))
def test_malformed_gates_give_one_sentence(bundle_folder, write_gate, case):
    gate, words = GATES[case]
    write_gate(bundle_folder, gate)
    with pytest.raises(
        BundleError, match=r"no usable gate in table\.json .*{}.*defq gate.*export it again".format(words)
    ):
        load_bundle(bundle_folder)


CHANGES = {
    "split without end": lambda m: m.update(split=float("inf")),
    "no split": lambda m: m.pop("split"),
    "split too high": lambda m: m.update(split=9),
    "no thresholds": lambda m: m.update(thresholds={}),
    "threshold above one": lambda m: m.update(thresholds={"5": 1.5, "10": 0.5}),
    "costs that fall": lambda m: m["exits"][0].update(relative_cost=0.99),
    "a host that costs nothing": lambda m: [each.update(relative_cost=0.5) for each in m["exits"]],
    "labels of another": lambda m: m.update(labels=["a", "b", "c"]),
    "shape of two": lambda m: m["input"].update(shape=[3, 32]),
    "huge shape": lambda m: m["input"].update(shape=[3, 1 << 40, 32]),
    "exits no list": lambda m: m.update(exits=3),
    "no level": lambda m: m["activation"].update(levels=0),
    "levels beyond a byte": lambda m: m["activation"].update(levels=256),
    "payload form without a file": lambda m: m["graphs"].update(from_uint8={}),
    "ceiling above one": lambda m: m.update(ceiling={"gain": 0.03, "modes": {"5": {"off": {"share": 1.01}}}}),
    "ceiling without a gain": lambda m: m.update(ceiling={"modes": {}}),
    "ceiling no object": lambda m: m.update(ceiling=[1]),
    "file outside": lambda m: m["defq"].update(file="../table.json"),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_malformed_manifests_give_one_sentence(bundle_folder, change):
    manifest = manifest_of(bundle_folder)
    CHANGES[change](manifest)
    write_manifest(bundle_folder, manifest)
    with pytest.raises(BundleError, match="export it again"):
        load_bundle(bundle_folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b"[" * 100000])
def test_manifests_that_are_none(bundle_folder, content):
    with open(os.path.join(bundle_folder, "manifest.json"), "wb") as file:
        file.write(content)
    with pytest.raises(BundleError, match="manifest"):
        load_bundle(bundle_folder)


def test_archives_that_are_none(tmp_path, bundle_folder):
    with pytest.raises(BundleError, match="found no bundle"):
        load_bundle(str(tmp_path / "absent"))
    path = tmp_path / "bad.tar.gz"
    path.write_bytes(b"garbage")
    with pytest.raises(BundleError, match="could not read"):
        load_bundle(str(path))
    whole = tmp_path / "whole.tar.gz"
    pack_bundle(bundle_folder, str(whole))
    path.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(BundleError, match="could not read"):
        load_bundle(str(path))
    with tarfile.open(str(path), "w:gz") as archive:
        archive.add(os.path.join(bundle_folder, "labels.txt"), "labels.txt")
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        load_bundle(str(path))


def test_any_flipped_bit_of_an_archive_is_one_sentence_or_harmless(bundle, bundle_folder, tmp_path):
    path = tmp_path / "whole.tar.gz"
    pack_bundle(bundle_folder, str(path))
    raw = path.read_bytes()
    refused = 0
    for position in range(0, len(raw), 41):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 16]) + raw[position + 1 :])
        try:
            read = load_bundle(str(path))
            assert all(read.read(graph) == bundle.read(graph) for graph in ("head", "head_flat", "tail"))
        except BundleError:
            refused += 1
    assert refused > 0.9 * len(raw) / 41


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    """A field of a Protocol Buffers message: bytes, or a whole number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


ELSEWHERE = field(8, b"weights") + field(13, field(1, b"location") + field(2, b"../secret.bin"))
MARKED = field(8, b"weights") + field(14, 1)
INSIDE = field(8, b"weights") + field(9, b"\x0d\x01" * 50) + field(14, 0)
PLACES = {  # where a model may keep a tensor, innermost first: numbers of the fields around it
    "initialiser": (5, 7),
    "sparse values": (1, 15, 7),
    "sparse indices": (2, 15, 7),
    "constant": (5, 5, 1, 7),
    "list of a node": (10, 5, 1, 7),
    "sparse constant": (1, 22, 5, 1, 7),
    "branch": (5, 6, 5, 1, 7),
    "branch of a branch": (5, 6, 5, 1, 6, 5, 1, 7),
    "list of graphs": (5, 11, 5, 1, 7),
    "function": (5, 5, 7, 25),
    "default of a function": (5, 11, 25),
    "training": (5, 1, 20),
}
EMPTY_GRAPH = field(7, b"")


def nested(tensor, place):
    for number in PLACES[place]:
        tensor = field(number, tensor)
    return EMPTY_GRAPH + tensor


@pytest.mark.parametrize("place", sorted(PLACES))
def test_weights_in_other_files_are_found_wherever_they_are(place):
    assert external_tensor(nested(ELSEWHERE, place)) == "weights"
    assert external_tensor(nested(MARKED, place)) == "weights"
    assert external_tensor(nested(INSIDE, place)) is None


@pytest.mark.parametrize("graph", ["head", "head_flat", "tail", "from_uint8", "from_coefficients"])
def test_a_graph_with_weights_in_other_files_is_refused(bundle_folder, graph):
    replace_file(bundle_folder, graph + ".onnx", lambda content: content + nested(ELSEWHERE, "initialiser"))
    with pytest.raises(
        BundleError, match="found that tensor 'weights' of {}.onnx in .* lies in another file".format(graph)
    ):
        load_bundle(bundle_folder).read(graph)


@pytest.mark.parametrize(
    "content", [b"", b"no graph", b"\xff" * 50, field(7, b"\x0a\x7f"), EMPTY_GRAPH[:1], b"\x3a\xff\xff\xff\xff\x0f"]
)
def test_what_is_no_graph_is_one_sentence(bundle_folder, content):
    replace_file(bundle_folder, "head.onnx", lambda before: content)
    with pytest.raises(BundleError, match="found no ONNX graph in head.onnx of .*export it again"):
        load_bundle(bundle_folder).read("head")


def test_deep_and_damaged_graphs_end_soon(bundle):
    deep = MARKED
    for _ in range(5000):
        deep = field(6, field(1, field(5, deep)))
    with pytest.raises(ValueError, match="messages within each other"):
        external_tensor(field(7, field(1, field(5, deep))))
    model = bundle.read("head")
    for position in range(0, len(model), 97):
        damaged = bytearray(model)
        damaged[position] ^= 0x55
        try:
            external_tensor(bytes(damaged))
        except ValueError:
            pass


def replace_file(folder, name, change):
    """Change a file of a bundle, and its hash in the manifest with it."""
    with open(os.path.join(folder, name), "rb") as file:
        content = change(file.read())
    with open(os.path.join(folder, name), "wb") as file:
        file.write(content)
    manifest = manifest_of(folder)
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"][name] = {"sha256": digest, "bytes": len(content)}
    if name == "tail.onnx":
        manifest["id"] = manifest["id"][:-8] + digest[:8]
    write_manifest(folder, manifest)


NEWER = {  # what a later release may add
    "another payload form": lambda m: m["graphs"].update(from_int4={"file": "from_int4.onnx"}),
    "one payload form less": lambda m: m["graphs"].pop("from_uint8"),
    "no payload form": lambda m: [m["graphs"].pop(name) for name in ("from_uint8", "from_coefficients")],
    "another file": lambda m: m["files"].update({"from_int4.onnx": {"sha256": "ab" * 32, "bytes": 1}}),
    "another part": lambda m: m.update(twin={"file": "twin.onnx", "thresholds": {}}),
    "more of a part": lambda m: m["activation"].update(entropy="ans"),
    "a known part that is required": lambda m: m.update(requires=["from_uint8", "head"]),
    "nothing that is required": lambda m: m.update(requires=[]),
}


@pytest.mark.parametrize("change", sorted(NEWER))
def test_optional_parts_that_are_not_known_are_left_alone(bundle_folder, bundle, change):
    manifest = manifest_of(bundle_folder)
    NEWER[change](manifest)
    write_manifest(bundle_folder, manifest)
    read = load_bundle(bundle_folder)
    assert set(read.graphs) <= set(bundle.graphs)
    assert all(read.read(graph) == bundle.read(graph) for graph in read.graphs)
    assert read.id == bundle.id


def test_required_parts_that_are_not_known_are_refused_by_name(bundle_folder):
    write_manifest(bundle_folder, dict(manifest_of(bundle_folder), requires=["from_int4", "head"]))
    with pytest.raises(
        BundleError, match=r"requires 'from_int4', which this release does not know; expected .*; update this"
    ):
        load_bundle(bundle_folder)
