"""Frames that come as uint8 or as DCT coefficients get the answers of their float32 activations."""

import http.client
import json
import shutil

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.defence.defq import DefQ
from device.defence.quantised import Quantised
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.errors import BundleError, WireError
from device.link.host_client import HostClient
from device.payload.base import Sendable
from device.payload.forms import inputs_of
from device.payload.forms.coefficients import packed_coefficients, steps_of
from device.payload.forms.uint8 import quantised, restored
from device.payload.metadata import forms_taken
from device.protocol.tensors import DTYPES
from host.app.tail import Tail
from tests.device.payload.conftest import COEFFICIENTS, FP32, SHIPPED, UINT8
from tests.host.app.test_app import MODEL, infer
from tests.host.conftest import BUNDLE

LIMIT = 0.62


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(str(BUNDLE))


@pytest.fixture(scope="module")
def tail(bundle):
    return Tail(bundle, 1)


@pytest.fixture(scope="module")
def sent(bundle):
    """Frames that do not leave behind DefQ: their heads and pixels."""
    engine, defence = OnnxRuntimeEngine(bundle, 1), Quantised(bundle, bundle.default_rad)
    frames = np.load(BUNDLE.parent / "frames.npz")["frames"]
    heads = [(engine.run(defence.treat(frame).image, LIMIT), frame) for frame in frames]
    heads = [(head, frame) for head, frame in heads if head.activation is not None]
    assert len(heads) > 10
    return heads


def tensors(form, bundle, head, pixels):
    """A frame in one form, as a host reads it."""
    threshold = np.full((1, 1), LIMIT, np.float32)
    if form == FP32:
        return {"activation": head.activation, "threshold": threshold}
    if form == UINT8:
        values, pair = quantised(head.activation, bundle.activation_levels)
        return {"activation_uint8": values, "activation_range": pair, "threshold": threshold}
    packed = packed_coefficients(DefQ(bundle.table).levels(pixels), 3, steps_of(bundle.table))
    return {"coefficients": packed, "steps": steps_of(bundle.table), "threshold": threshold}


def test_activations_of_all_forms(bundle, tail, sent):
    apart = []
    for head, pixels in sent:
        found = {}
        for form in SHIPPED:
            inputs = tail.checked(tensors(form, bundle, head, pixels), 1)
            assert inputs.form == form
            found[form] = tail.activation_of([inputs])
        np.testing.assert_array_equal(found[FP32], head.activation)
        np.testing.assert_array_equal(found[UINT8], restored(quantised(head.activation, bundle.activation_levels)))
        apart.append(np.abs(found[COEFFICIENTS] - head.activation).max())
    # a pixel half way between two levels may be rounded to the other one; there are few
    assert max(apart) < 0.02
    assert np.median(apart) < 1e-5


def test_requests_of_different_forms_share_a_batch(bundle, tail, sent):
    forms = [SHIPPED[number % 3] for number in range(len(sent))]
    requests = [
        tail.checked(tensors(form, bundle, head, pixels), 1) for form, (head, pixels) in zip(forms, sent, strict=True)
    ]
    # one request of several frames among them
    pairs = [tensors(UINT8, bundle, head, pixels) for head, pixels in sent[:2]]
    requests.insert(1, tail.checked({name: np.concatenate([each[name] for each in pairs]) for name in pairs[0]}, 2))
    together = tail.answer(requests)
    alone = [tail.answer([each]) for each in requests]
    assert together.label.tolist() == np.concatenate([each.label for each in alone]).tolist()
    assert together.exit.tolist() == np.concatenate([each.exit for each in alone]).tolist()
    confidences = np.concatenate([each.confidence for each in alone])
    np.testing.assert_allclose(together.confidence, confidences, atol=1e-5)


def metadata(host, **headers):
    """As a client with these headers alone reads it."""
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=20)
    try:
        connection.putrequest("GET", f"/v2/models/{MODEL}", skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


@pytest.mark.parametrize("header", ["User_Agent", "Accept", "Accept_Encoding"])
def test_the_metadata_lists_as_inputs_what_one_request_may_hold(host, header):
    """A client that fills all that is listed, with any program that speaks HTTP, gets an answer."""
    found = metadata(host, **{header: "x"})
    assert [each["name"] for each in found["inputs"]] == ["activation", "threshold"]
    assert found["parameters"]["payload_forms"] == [*SHIPPED]
    for frames in (1, 4):
        tensors = {each["name"]: np.zeros((frames, *each["shape"][1:]), np.float32) for each in found["inputs"]}
        for binary in (True, False):
            assert infer(host, tensors, binary=binary)[0] == 200


def test_devices_of_earlier_releases_find_the_forms_among_the_inputs(bundle, host):
    """Devices of earlier releases are known by their requests, which have none of the headers that every other program sends."""
    found = metadata(host, Authorization="Bearer x", Connection="close")
    inputs = found["inputs"]
    del found["parameters"]  # of which they know nothing
    assert forms_taken(json.dumps(found).encode(), bundle) == [*SHIPPED]
    assert inputs[0] == {"name": "activation", "datatype": "FP32", "shape": [-1, 6, 8, 8]}
    assert inputs[-1] == {"name": "threshold", "datatype": "FP32", "shape": [-1, 1]}
    assert {"name": "coefficients", "datatype": "INT8", "shape": [-1, 64, 12]} in inputs
    assert [each["name"] for each in inputs[1:-1]] == [*inputs_of(UINT8, bundle), *inputs_of(COEFFICIENTS, bundle)]


@pytest.mark.parametrize("form", SHIPPED)
def test_a_device_and_a_host(bundle, host, sent, form):
    answers = {}
    for each in (FP32, form):
        client = HostClient(host.url, bundle, LIMIT, 2, payload=each)
        client.check()
        requests = [client.submit(Sendable(head.activation, pixels, bundle.table), True) for head, pixels in sent]
        for request in requests:
            request.wait()
        client.close()
        assert {request.form for request in requests} == {each}
        answers[each] = [(request.answer.label, request.answer.exit) for request in requests]
    same = np.mean([one == other for one, other in zip(answers[FP32], answers[form], strict=True)])
    assert same >= (0.9 if form == UINT8 else 1)


def zeros(bundle, form, frames=1, **others):
    arrays = {
        name: np.zeros((frames, *shape), DTYPES[dtype]) for name, (dtype, shape) in inputs_of(form, bundle).items()
    }
    return {**arrays, **others}


WRONG = {
    "half a form": ({"activation_uint8": np.zeros((1, 6, 8, 8), np.uint8)}, "expected activation, or"),
    "two forms": ({"activation": np.zeros((1, 6, 8, 8), np.float32), "activation_uint8": 0, "activation_range": 0}, "found"),
    "signed": ({"activation_uint8": np.zeros((1, 6, 8, 8), np.int8)}, "found activation_uint8 of type int8"),
    "fewer ranges": ({"activation_range": np.zeros((2, 2), np.float32)}, r"expected float32 \[1, 2\]"),
    "no axis": ({"activation_range": np.float32(1).reshape(())}, "found activation_uint8|found activation_range"),
    "NaN": ({"activation_range": np.full((1, 2), np.nan, np.float32)}, "NaN or infinite values in activation_range"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_inputs_give_one_sentence(bundle, tail, case):
    change, words = WRONG[case]
    whole = {} if case in ("half a form", "two forms") else zeros(bundle, UINT8)
    with pytest.raises(WireError, match=words):
        tail.checked({**whole, **{name: np.asarray(value) for name, value in change.items()}}, 8)


def test_bounds_are_those_of_float32(bundle, tail):
    for form in SHIPPED:
        with pytest.raises(WireError, match="found 9 frames in one request; expected at most 8"):
            tail.checked(zeros(bundle, form, 9), 8)
        with pytest.raises(WireError, match="expected"):
            tail.checked(zeros(bundle, form, 0), 8)


def test_extreme_values_get_an_answer(host, bundle):
    for values in (-127, 127, -128):
        arrays = {
            name: np.full_like(array, values) for name, array in zeros(bundle, COEFFICIENTS).items() if name != "steps"
        }
        assert infer(host, {**arrays, "steps": np.full((1, 64), 255, np.uint8)})[0] == 200


@pytest.fixture
def without_forms(tmp_path):
    """A bundle of before there were payload forms."""
    folder = tmp_path / "old"
    shutil.copytree(BUNDLE, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("from_uint8", "from_coefficients"):
        del manifest["graphs"][name], manifest["files"][name + ".onnx"]
        (folder / (name + ".onnx")).unlink()
    del manifest["activation"]["levels"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_older_bundles_offer_float32_alone(without_forms, sent):
    old = load_bundle(str(without_forms))
    assert old.activation_levels == 255
    tail = Tail(old, 1)
    assert list(tail.forms) == [FP32]
    assert tail.answer([tail.checked(tensors(FP32, old, *sent[0]), 1)]).exit[0] > 2
    with pytest.raises(WireError, match="expected activation, and, if wanted, threshold"):
        tail.checked(tensors(UINT8, old, *sent[0]), 1)


def test_a_changed_graph_stops_the_start(tmp_path):
    folder = tmp_path / "changed"
    shutil.copytree(BUNDLE, folder)
    (folder / "from_uint8.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"SHA-256 .* in from_uint8\.onnx"):
        Tail(load_bundle(str(folder)), 1)
