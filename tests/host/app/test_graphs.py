"""A graph whose values lie in another file is refused, wherever in the graph that is said."""

import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from device.bundle.reader import load_bundle
from device.errors import BundleError, EngineError
from host.app.tail import Tail
from tests.host.conftest import BUNDLE


def outside(name="w"):
    """A tensor whose values are in the file weights.bin."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def in_a_branch(model):
    branch = helper.make_graph([], "branch", [], [], [outside()])
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=branch, else_branch=branch))


def said_without_the_flag(model):
    tensor = outside()
    tensor.ClearField("data_location")
    model.graph.initializer.append(tensor)


PLACES = {
    "initialiser": lambda model: model.graph.initializer.append(outside()),
    "without the flag": said_without_the_flag,
    "constant": lambda model: model.graph.node.append(helper.make_node("Constant", [], ["c"], value=outside())),
    "branch": in_a_branch,
    "sparse": lambda model: model.graph.sparse_initializer.add().values.CopyFrom(outside()),
    "function": lambda model: model.functions.add(name="f", domain="d").node.append(helper.make_node("Constant", [], ["c"], value=outside())),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A bundle whose files the test may change: ``folder(graph, content)`` keeps the manifest right."""
    target = tmp_path / "bundle"
    shutil.copytree(BUNDLE, target)

    def change(graph, content):
        file = target / f"{graph}.onnx"
        file.write_bytes(content)
        manifest = json.loads((target / "manifest.json").read_text())
        digest = hashlib.sha256(content).hexdigest()
        manifest["files"][file.name] = {"sha256": digest, "bytes": len(content)}
        if graph == "tail":
            manifest["id"] = manifest["id"][:-8] + digest[:8]
        (target / "manifest.json").write_text(json.dumps(manifest))
        return load_bundle(str(target))

    return change


@pytest.mark.parametrize("graph", ["tail", "from_uint8", "from_coefficients"])
@pytest.mark.parametrize("place", PLACES)
def test_values_in_another_file_stop_the_start(folder, tmp_path, monkeypatch, graph, place):
    model = onnx.load(str(BUNDLE / f"{graph}.onnx"))
    PLACES[place](model)
    bundle = folder(graph, model.SerializeToString())
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime would find it
    with pytest.raises(BundleError, match=rf"tensor 'w' of {graph}.* in another file"):
        Tail(bundle, 1)


def test_what_is_no_graph_is_one_sentence(folder):
    with pytest.raises((BundleError, EngineError), match="graph"):
        Tail(folder("tail", b"\xff\xff"), 1)


def test_a_bundle_that_needs_no_host_is_refused_in_one_sentence():
    whole = load_bundle(str(BUNDLE.parent / "whole_bundle"))
    with pytest.raises(
        BundleError, match="found no tail in bundle .*, which has all exits on the device; expected .*; export"
    ):
        Tail(whole, 1)
