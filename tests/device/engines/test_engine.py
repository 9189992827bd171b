"""The head on the CPU, what GPU engines share, and how an engine is chosen."""

import importlib.util

import numpy as np
import onnxruntime
import pytest

from device.defence.quantised import Quantised
from device.defence.undefended import Undefended
from device.engines import open as opening
from device.engines.base import Engine, HeadResult
from device.engines.flat_head import TOLERANCE, FlatHeadEngine, check_answers, read_flat_head
from device.engines.onnx_runtime import CPU, OnnxRuntimeEngine, outputs_of, session_options
from device.engines.open import NAMES, open_engine, probe_engines
from device.errors import EngineError, UsageError
from device.loop.preprocess import Preprocessor


def images(bundle, frames, defq=False):
    prepare = Preprocessor(bundle)
    defence = (Quantised if defq else Undefended)(bundle._replace(defq_fused=False), 5)
    return [defence.treat(prepare.resize(frame)).image.copy() for frame in frames]


class FlatOnCpu(FlatHeadEngine):
    """The flat head as GPU engines get it, run on the CPU."""

    name = "flat"

    def __init__(self, bundle):
        super().__init__(bundle)
        self.outputs = outputs_of(bundle)
        self.session = onnxruntime.InferenceSession(read_flat_head(bundle), session_options(1), [CPU])

    def run_flat(self, image, threshold):
        feed = {"image": image, "threshold": np.array([threshold], np.float32)}
        label, confidence, exit_, *activation = self.session.run(self.outputs, feed)
        return HeadResult(int(label[0]), float(confidence[0]), int(exit_[0]), None if exit_[0] else activation[0])


def same(one, other):
    assert (one.exit, one.label) == (other.exit, other.label)
    assert one.confidence == pytest.approx(other.confidence, abs=1e-6)
    assert (one.activation is None) == (other.activation is None)
    if one.activation is not None:
        np.testing.assert_allclose(one.activation, other.activation, atol=1e-5)


def test_head_agrees_with_pytorch(bundle, frames, expected):
    engine = OnnxRuntimeEngine(bundle, threads=1)
    assert engine.name == "onnxruntime CPU, 1 thread"
    for image, exit_, label, confidence in zip(
        images(bundle, frames), expected["exit"], expected["label"], expected["confidence"]
    ):
        result = engine.run(image, 0.62)
        if exit_ <= bundle.split:
            assert (result.exit, result.label, result.activation) == (exit_, label, None)
            assert result.confidence == pytest.approx(confidence, abs=1e-5)
        else:
            assert result.exit == 0
            assert result.activation.shape == (1, *bundle.activation_shape)
            assert result.confidence < 0.62


def test_threshold_decides(bundle, frames):
    engine = OnnxRuntimeEngine(bundle, threads=1)
    image = images(bundle, frames[:1])[0]
    assert engine.run(image, 0.0).exit == 1
    assert engine.run(image, 1.0).exit == 0


def test_without_arena_it_answers_the_same(bundle, frames):
    options = session_options(1, arena=False)
    assert not options.enable_cpu_mem_arena
    assert not session_options(1).enable_mem_pattern
    assert session_options(1).enable_cpu_mem_arena
    engine, spare = OnnxRuntimeEngine(bundle, 1), OnnxRuntimeEngine(bundle, 1, arena=False)
    for image in images(bundle, frames[:10]):
        same(spare.run(image, 0.62), engine.run(image, 0.62))


def test_graph_that_does_not_load(bundle):
    broken = bundle._replace(files={})

    class Broken:
        path, manifest, defq_fused = broken.path, broken.manifest, False
        precision = broken.precision

        def read(self, graph):
            return b"no graph"

    with pytest.raises(EngineError, match="could not load the head"):
        OnnxRuntimeEngine(Broken(), threads=1)


def test_wrong_image_is_one_sentence(bundle):
    engine = OnnxRuntimeEngine(bundle, threads=1)
    with pytest.raises(EngineError, match="failed on a frame"):
        engine.run(np.zeros((1, 1, 4, 4), np.float32), 0.5)


def test_flat_head_decides_as_the_nested_one(bundle, frames):
    nested, flat = OnnxRuntimeEngine(bundle, 1), FlatOnCpu(bundle)
    exits = set()
    for image in images(bundle, frames):
        for threshold in (0.0, 0.5, 0.62, 0.9, 2.0):
            result = nested.run(image, threshold)
            same(flat.run(image, threshold), result)
            exits.add(result.exit)
    assert exits == {0, 1, 2}


def test_flat_head_has_a_fused_defq_applied_to_its_image(bundle, frames):
    nested, flat = OnnxRuntimeEngine(bundle, 1), FlatOnCpu(bundle._replace(defq_fused=True))
    changed = 0
    for plain, quantised in zip(images(bundle, frames), images(bundle, frames, defq=True)):
        same(flat.run(plain, 0.62, True), nested.run(quantised, 0.62))
        same(flat.run(plain, 0.62, False), nested.run(plain, 0.62))
        changed += not np.array_equal(plain, quantised)
    assert changed > 50
    same(FlatOnCpu(bundle).run(plain, 0.62, True), nested.run(plain, 0.62))  # not fused: the frame comes quantised


def test_a_flat_head_of_an_earlier_release_loses_its_default_threshold(bundle):
    """TensorRT would take an input with a default for a constant."""
    before = onnxruntime.InferenceSession(bundle.read("head_flat"), session_options(1), [CPU])
    after = onnxruntime.InferenceSession(read_flat_head(bundle), session_options(1), [CPU])
    assert [each.name for each in before.get_inputs()] == ["image"]
    assert [each.name for each in before.get_overridable_initializers()] == ["threshold"]
    assert sorted(each.name for each in after.get_inputs()) == ["image", "threshold"]
    assert after.get_overridable_initializers() == []


def test_what_is_no_onnx_file_is_one_sentence():
    class NoGraph:
        def read(self, name):
            return b"no graph"

    with pytest.raises(EngineError, match="found no ONNX graph in head_flat.onnx"):
        read_flat_head(NoGraph())


class Other(Engine):
    """An engine that gives the answers of another one, changed by ``change``."""

    name = "other"

    def __init__(self, engine, change):
        self.engine, self.change = engine, change

    def run(self, image, threshold, defq=False):
        return self.change(self.engine.run(image, threshold), threshold)


def test_an_engine_that_rounds_otherwise_passes(bundle):
    cpu = OnnxRuntimeEngine(bundle, 1)
    rounding = Other(cpu, lambda result, _: result._replace(confidence=result.confidence + TOLERANCE / 2))
    check_answers(rounding, cpu, bundle.input_shape, TOLERANCE)


@pytest.mark.parametrize("change", [
    lambda result, _: result._replace(exit=2) if result.exit == 1 else result,  # the last of equals
    lambda result, _: result._replace(confidence=result.confidence + 0.1),
    lambda result, _: result._replace(confidence=float("nan")),
    lambda result, threshold: result._replace(exit=1, activation=None),  # a threshold that is not obeyed
    lambda result, _: result._replace(activation=result.activation * np.nan) if result.activation is not None else result,
    lambda result, _: result._replace(activation=result.activation[:, :1]) if result.activation is not None else result,
    lambda result, _: result._replace(activation=None),
])  # fmt: skip
def test_an_engine_that_answers_otherwise_is_refused(bundle, change):
    cpu = OnnxRuntimeEngine(bundle, 1)
    with pytest.raises(EngineError, match=r"found exit .* in other where ONNX Runtime on the CPU has"):
        check_answers(Other(cpu, change), cpu, bundle.input_shape, TOLERANCE)


@pytest.fixture
def no_gpu(monkeypatch):
    """Neither binding nor provider, as on a Raspberry Pi, whatever this machine has."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorrt" else find(name))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])

    def no_binding():
        raise EngineError("found no TensorRT for this Python (No module named 'tensorrt')")

    monkeypatch.setattr("device.engines.tensorrt.load_tensorrt", no_binding)


def test_auto_takes_the_cpu_where_there_is_nothing_else(no_gpu, bundle, capsys):
    assert open_engine(bundle, threads=2).name == "onnxruntime CPU, 2 threads"
    assert open_engine(bundle, "onnxruntime", 1).name == "onnxruntime CPU, 1 thread"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", opening.ON_GPU)
def test_an_engine_that_is_not_there_gives_way_to_the_cpu(no_gpu, bundle, name, frames, capsys):
    engine = open_engine(bundle, name, 1)
    assert engine.name == "onnxruntime CPU, 1 thread"
    assert engine.run(images(bundle, frames[:1])[0], 0.0).exit == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("warning: found ")
    assert err.endswith("; until then the head runs in onnxruntime CPU, 1 thread\n")


def test_fp16_without_tensorrt(no_gpu, bundle, capsys):
    assert open_engine(bundle, "auto", 1, fp16=True).name == "onnxruntime CPU, 1 thread"
    assert "warning: found --fp16 but no TensorRT with a GPU" in capsys.readouterr().err
    for name in ("onnxruntime", "onnxruntime-cuda"):
        with pytest.raises(UsageError, match="found --fp16 with --engine {}".format(name)):
            open_engine(bundle, name, fp16=True)


def test_unknown_engine(bundle):
    with pytest.raises(UsageError, match="found --engine openvino; expected auto, .* or tensorrt"):
        open_engine(bundle, "openvino")
    with pytest.raises(UsageError, match=r"; did you mean tensorrt\?$"):
        open_engine(bundle, "TensorRT")


def test_probe_tells_of_every_engine(no_gpu, bundle):
    probes = probe_engines(bundle)
    assert tuple(probe.name for probe in probes) == NAMES[1:]
    assert [probe.usable for probe in probes] == [True, False, False, False]
    assert "all exits in" in probes[0].status
    assert "found CPUExecutionProvider in ONNX Runtime" in probes[1].status
    assert "expected TensorrtExecutionProvider" in probes[2].status
    assert "found no TensorRT for this Python" in probes[3].status
