"""What the tests of the device share: a committed bundle, its frames with what PyTorch says of them, and hosts."""

import hashlib
import json
import os
import shutil

import cv2
import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.defence.gate import noise_level
from tests.device.fake_host import FakeHost

DATA = os.path.join(os.path.dirname(__file__), "data")


@pytest.fixture
def bundle_folder(tmp_path):
    """A copy that a test may spoil."""
    folder = str(tmp_path / "bundle")
    shutil.copytree(os.path.join(DATA, "tiny_bundle"), folder)
    return folder


GATE = {"level": 1.5, "thresholds": {"5": 0.5, "10": 0.4}, "table": [[30] * 8] * 8, "images": 600}


@pytest.fixture
def write_gate():
    """Put a gate into table.json of a bundle's folder, as: defq gate, then defq bundle."""

    def write(folder, gate):
        with open(os.path.join(folder, "table.json")) as file:
            table = json.load(file)
        with open(os.path.join(folder, "manifest.json")) as file:
            manifest = json.load(file)
        content = json.dumps(dict(table, gate=gate)).encode()
        manifest["files"]["table.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        with open(os.path.join(folder, "table.json"), "wb") as file:
            file.write(content)
        with open(os.path.join(folder, "manifest.json"), "w") as file:
            json.dump(manifest, file)

    return write


@pytest.fixture
def gated_folder(bundle_folder, write_gate):
    """A bundle whose gate has the level 1.5, the thresholds 0.5 and 0.4, and steps of 30."""
    write_gate(bundle_folder, GATE)
    return bundle_folder


@pytest.fixture
def gated_bundle(gated_folder):
    return load_bundle(gated_folder)


@pytest.fixture
def bundle():
    return load_bundle(os.path.join(DATA, "tiny_bundle"))


@pytest.fixture
def whole_bundle():
    """The same network with all exits on the device."""
    return load_bundle(os.path.join(DATA, "whole_bundle"))


@pytest.fixture
def twin_folder(bundle_folder):
    """A bundle with a hardened twin, as defq bundle --twin head writes it: the same network with all exits on the device. DefQ
    belongs before the twin, and it has a monitor."""
    source = os.path.join(DATA, "whole_bundle")
    with open(os.path.join(source, "manifest.json")) as file:
        whole = json.load(file)
    with open(os.path.join(bundle_folder, "manifest.json")) as file:
        manifest = json.load(file)
    with open(os.path.join(source, "table.json")) as file:
        table = json.load(file)
    shares = dict(zip(("clean", "attacked", "clean_defq", "attacked_defq"), TWIN_SHARES))
    table["monitor"] = {"shares": {"5": shares, "10": shares}}
    contents = {"twin_table.json": json.dumps(table).encode()}
    for name in ("head", "head_flat"):
        with open(os.path.join(source, name + ".onnx"), "rb") as file:
            contents["twin_{}.onnx".format(name)] = file.read()
        whole["graphs"][name]["file"] = "twin_{}.onnx".format(name)
    for name, content in contents.items():
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        with open(os.path.join(bundle_folder, name), "wb") as file:
            file.write(content)
    manifest["twin"] = {
        "split": 5, "exits": whole["exits"], "thresholds": {"5": 0.5, "10": 0.4}, "graphs": whole["graphs"],
        "defq": {"file": "twin_table.json", "before": True}, "provenance": {},
    }  # fmt: skip
    with open(os.path.join(bundle_folder, "manifest.json"), "w") as file:
        json.dump(manifest, file)
    return bundle_folder


TWIN_SHARES = [
    [0.7, 0.2, 0.05, 0.03, 0.02],
    [0.5, 0.25, 0.15, 0.05, 0.05],
    [0.68, 0.2, 0.06, 0.03, 0.03],
    [0.4, 0.3, 0.15, 0.1, 0.05],
]


@pytest.fixture(scope="session")
def frames():
    """uint8 (60, 16, 16, 3)."""
    with np.load(os.path.join(DATA, "frames.npz")) as arrays:
        return arrays["frames"]


@pytest.fixture
def clean_and_noisy(frames):
    """Two frames of the same patches; the second has noise of its own in every channel, which the gate of GATE finds."""
    coarse = frames[0][::4, ::4].repeat(4, axis=0).repeat(4, axis=1)
    clean = cv2.GaussianBlur(coarse, (0, 0), 2)
    noisy = np.clip(clean + np.random.RandomState(0).normal(0, 10, clean.shape), 0, 255).astype(np.uint8)
    assert noise_level(clean) < GATE["level"] < noise_level(noisy)
    return [clean, noisy]


@pytest.fixture(scope="session")
def expected():
    """exit (1-based), label and confidence of every frame, from PyTorch."""
    with np.load(os.path.join(DATA, "expected.npz")) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture
def frames_file():
    return os.path.join(DATA, "frames.npz")


@pytest.fixture
def fake_host(bundle):
    host = FakeHost(bundle)
    yield host
    host.stop()


@pytest.fixture
def host_at(bundle):
    """Start a fake host on a given port."""
    started = []

    def start(port):
        started.append(FakeHost(bundle, port))
        return started[-1]

    yield start
    for host in started:
        host.stop()
