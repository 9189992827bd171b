"""A bundle whose head computes in 8 bits: on the CPU it runs, and GPUs get the flat head in float32."""

import hashlib
import json
import os

import numpy as np
import onnxruntime
import pytest

from device.bundle.reader import load_bundle
from device.engines import open as opening
from device.engines.flat_head import TOLERANCE, check_answers
from device.engines.onnx_runtime import FlatHeadOnCpu, OnnxRuntimeEngine, session_options
from device.engines.open import open_engine
from device.errors import EngineError
from tests.device.conftest import DATA


@pytest.fixture
def int8_bundle(bundle_folder):
    """The committed bundle with a head of the same network in 8 bits (tests/tiny.py writes it)."""
    with open(os.path.join(DATA, "int8_head.onnx"), "rb") as file:
        content = file.read()
    with open(os.path.join(bundle_folder, "head.onnx"), "wb") as file:
        file.write(content)
    name = os.path.join(bundle_folder, "manifest.json")
    with open(name) as file:
        manifest = json.load(file)
    manifest["files"]["head.onnx"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest["graphs"]["head"]["precision"] = "int8"
    with open(name, "w") as file:
        json.dump(manifest, file)
    return load_bundle(bundle_folder)


def test_exits_labels_and_confidences_are_those_of_the_export(int8_bundle, frames):
    """On every release of ONNX Runtime: what is computed in whole numbers is not rounded differently."""
    engine = OnnxRuntimeEngine(int8_bundle, 1)
    assert engine.name == "onnxruntime CPU, 1 thread, int8"
    with np.load(os.path.join(DATA, "int8_expected.npz")) as expected:
        rows = list(zip(frames, expected["exit"], expected["label"], expected["confidence"]))
    assert {int(row[1]) for row in rows} == {0, 1, 2}
    for frame, exit_, label, confidence in rows:
        image = np.ascontiguousarray(frame.transpose(2, 0, 1)[None]) / np.float32(255)
        found = engine.run(image, 0.62)
        assert (found.exit, found.label) == (exit_, label)
        assert found.confidence == pytest.approx(confidence, abs=1e-5)
        if not exit_:
            assert found.activation.dtype == np.float32
            assert found.activation.shape == (1,) + tuple(int8_bundle.activation_shape)


def test_a_head_whose_first_block_is_float32_answers_as_the_export(frames):
    """ONNX Runtime 1.10 crashed on the first form of it (export/onnx/cuts.py)."""
    session = onnxruntime.InferenceSession(
        os.path.join(DATA, "int8_narrow_head.onnx"), session_options(1), providers=["CPUExecutionProvider"]
    )
    with np.load(os.path.join(DATA, "int8_narrow_expected.npz")) as expected:
        rows = list(zip(frames, expected["exit"], expected["label"], expected["confidence"]))
    assert {int(row[1]) for row in rows} == {0, 1, 2}
    for frame, exit_, label, confidence in rows:
        image = np.ascontiguousarray(frame.transpose(2, 0, 1)[None]) / np.float32(255)
        found = session.run(
            ["exit", "label", "confidence"], {"image": image, "threshold": np.array([0.62], np.float32)}
        )
        assert [found[0][0], found[1][0]] == [exit_, label]
        assert found[2][0] == pytest.approx(confidence, abs=1e-5)


def test_a_bundle_without_the_field_is_float32(bundle, int8_bundle):
    assert set(bundle.precision.values()) == {"float32"}
    assert int8_bundle.precision["head"] == "int8"
    assert int8_bundle.precision["head_flat"] == "float32"


def test_engines_on_gpus_are_compared_with_the_flat_head_which_stays_float32(int8_bundle, monkeypatch, capsys):
    flat, cpu = FlatHeadOnCpu(int8_bundle), OnnxRuntimeEngine(int8_bundle, 1)
    with pytest.raises(EngineError, match="expected the same"):
        check_answers(flat, cpu, int8_bundle.input_shape, TOLERANCE)
    monkeypatch.setattr(opening, "OnnxRuntimeGpuEngine", lambda bundle, *_: FlatHeadOnCpu(bundle))
    engine = open_engine(int8_bundle, "onnxruntime-cuda", 1)
    assert isinstance(engine, FlatHeadOnCpu)
    assert capsys.readouterr().err == ""
