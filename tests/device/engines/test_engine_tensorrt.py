"""The TensorRT engine, on fakes of every generation of its binding (test_engine_tensorrt_fake.py)."""

import os
import stat
import sys
import types

import numpy as np
import pytest

from device.engines import tensorrt
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.engines.open import open_engine, probe_engines
from device.engines.tensorrt import TensorRtEngine
from device.errors import EngineError
from tests.device.engines.test_engine import images, same
from tests.device.engines.test_engine_cuda import OUT_OF_MEMORY, FakeCudart, use
from tests.device.engines.test_engine_tensorrt_fake import MIDDLE, NEW, NEWEST, OLD, FakeTensorRt


@pytest.fixture
def cudart(monkeypatch):
    library = FakeCudart()
    use(monkeypatch, {"libcudart.so": library})
    return library


@pytest.fixture(autouse=True)
def cached(monkeypatch, tmp_path):
    """Where engines are kept."""
    folder = str(tmp_path / "engines")
    monkeypatch.setenv("DEFQ_ENGINES", folder)
    return folder


@pytest.fixture
def install(monkeypatch, cudart):
    """Make a version of TensorRT the one that is imported."""

    def put(version):
        trt = FakeTensorRt(version, cudart)
        monkeypatch.setitem(sys.modules, "tensorrt", trt)
        return trt

    return put


@pytest.fixture(params=[OLD, MIDDLE, NEW, NEWEST])
def trt(request, install):
    return install(request.param)


def test_it_decides_as_the_nested_head(trt, bundle, frames):
    cpu, engine = OnnxRuntimeEngine(bundle, 1), TensorRtEngine(bundle)
    assert engine.name == "TensorRT {} fp32, NVIDIA Tegra X1".format(trt.__version__)
    kept = []
    for image in images(bundle, frames):
        for threshold in (0.0, 0.62, 2.0):
            result = engine.run(image, threshold)
            same(result, cpu.run(image, threshold))
            kept.append((result.activation, None if result.activation is None else result.activation.copy()))
    for activation, copy in kept:  # the host may still be sending one while the next frame runs
        assert activation is None or (activation.dtype == np.float32 and np.array_equal(activation, copy))


def test_it_runs_a_whole_network(trt, whole_bundle, frames):
    cpu, engine = OnnxRuntimeEngine(whole_bundle, 1), TensorRtEngine(whole_bundle)
    for image in images(whole_bundle, frames):
        for threshold in (0.0, 0.62, 2.0):
            same(engine.run(image, threshold), cpu.run(image, threshold))


def test_it_is_built_once_and_the_wait_announced(trt, bundle, cached, capsys):
    assert open_engine(bundle, "tensorrt").name.startswith("TensorRT")
    out, err = capsys.readouterr()
    assert out == ""
    announced, done = err.splitlines()
    assert announced == "building the TensorRT engine of {} for NVIDIA Tegra X1; this takes minutes, once".format(
        bundle.id
    )
    assert done.startswith("built the TensorRT engine in ")
    assert trt.configs[0].flags == set()  # neither TF32 nor FP16
    size = trt.configs[0].pools["WORKSPACE"] if hasattr(trt, "MemoryPoolType") else trt.configs[0].max_workspace_size
    assert size == 256 << 20
    assert stat.S_IMODE(os.stat(cached).st_mode) == 0o700
    (name,) = os.listdir(cached)
    assert stat.S_IMODE(os.stat(os.path.join(cached, name)).st_mode) == 0o600
    assert open_engine(bundle, "tensorrt").name.startswith("TensorRT")
    assert trt.builds == 1
    assert capsys.readouterr() == ("", "")


def test_auto_takes_tensorrt_where_it_works(trt, bundle):
    assert open_engine(bundle).name.startswith("TensorRT")


@pytest.mark.parametrize("change", ["version", "precision", "gpu", "processors", "graph"])
def test_what_an_engine_depends_on_makes_another(install, cudart, bundle, change):
    trt = install(NEW)
    TensorRtEngine(bundle)
    if change == "version":
        trt = install(OLD)
        trt.builds = 1
    if change == "gpu":
        cudart.name = b"Orin"
    if change == "processors":
        cudart.attributes[16] = 8
    if change == "graph":
        note = b"\x32\x01x"  # ModelProto.doc_string
        bundle = types.SimpleNamespace(
            has_tail=True, **dict(bundle._asdict(), read=lambda graph, read=bundle.read: read(graph) + note)
        )
    TensorRtEngine(bundle, fp16=change == "precision")
    assert trt.builds == 2


@pytest.mark.parametrize("damage", [
    lambda content: content[: len(content) // 2], lambda content: content[:-1] + b"?", lambda content: b"",
])  # fmt: skip
def test_a_damaged_engine_is_built_again(install, bundle, cached, damage, capsys):
    trt = install(NEW)
    TensorRtEngine(bundle).close()
    (name,) = os.listdir(cached)
    path = os.path.join(cached, name)
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(damage(content))
    capsys.readouterr()
    assert open_engine(bundle, "tensorrt").name.startswith("TensorRT")
    assert "warning: found a damaged engine {}; it is built again".format(path) in capsys.readouterr().err
    with open(path, "rb") as file:
        assert file.read() == content
    assert trt.builds == 2


def test_an_engine_that_tensorrt_does_not_take_back_is_built_again(install, bundle, monkeypatch, capsys):
    trt = install(NEW)
    TensorRtEngine(bundle)
    monkeypatch.setattr(tensorrt.cache, "load", lambda name: b"from another driver")
    assert open_engine(bundle, "tensorrt").name.startswith("TensorRT")
    assert (
        "warning: TensorRT cannot load the engine that it built before (Serialization assertion"
        in capsys.readouterr().err
    )
    assert trt.builds == 2


def test_a_cache_that_others_can_write_to_is_not_used(install, bundle, cached, capsys):
    trt = install(NEW)
    os.makedirs(cached)
    os.chmod(cached, 0o777)
    for builds in (1, 2):
        assert open_engine(bundle, "tensorrt").name.startswith("TensorRT")
        assert (
            "warning: found no use for the engine cache {} (others can write there)".format(cached)
            in capsys.readouterr().err
        )
        assert trt.builds == builds
    assert os.listdir(cached) == []


def test_a_cache_that_cannot_be_made(install, bundle, cached, capsys):
    install(NEW)
    with open(cached, "w"):
        pass
    assert open_engine(bundle, "tensorrt").name.startswith("TensorRT")
    assert "warning: found no use for the engine cache" in capsys.readouterr().err


def test_a_full_disk_keeps_no_engine(install, bundle, cached, monkeypatch, capsys):
    install(NEW)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert open_engine(bundle, "tensorrt").name.startswith("TensorRT")
    assert (
        "warning: could not keep the engine in {} (No space left on device)".format(cached) in capsys.readouterr().err
    )
    assert os.listdir(cached) == []


@pytest.mark.parametrize("version", [OLD, NEW])
def test_fp16_is_asked_of_every_generation_in_its_way(install, bundle, frames, version):
    trt = install(version)
    engine = open_engine(bundle, "tensorrt", fp16=True)
    assert engine.name == "TensorRT {} fp16, NVIDIA Tegra X1".format(version)
    assert trt.configs[0].flags == {"FP16"}
    image = images(bundle, frames[:1])[0]
    exact = OnnxRuntimeEngine(bundle, 1).run(image, 0.0).confidence
    assert 0 < abs(engine.run(image, 0.0).confidence - exact) < 0.001


def test_fp16_that_the_version_does_not_have(install, bundle, capsys):
    install(NEWEST)
    assert open_engine(bundle, "tensorrt", 1, fp16=True).name == "onnxruntime CPU, 1 thread"
    assert "warning: found --fp16 with TensorRT 11.4.0" in capsys.readouterr().err


@pytest.mark.parametrize(("fails", "said"), [
    ("builder", r"found TensorRT \S+ unable to run the head of .* \(createInferBuilder: CUDA initialization failure with error: 2\)"),
    ("parse", r"found TensorRT \S+ unable to read the head \(no importer for Pad\); expected TensorRT 8.2 to 10"),
    ("build", r"found TensorRT \S+ unable to build the engine \(.*out of memory\)\); expected enough free memory"),
    ("load", r"found TensorRT \S+ unable to load the engine that it has just built \(Serialization"),
    ("run", r"TensorRT failed on a frame \(no reason given\)"),
])  # fmt: skip
def test_whatever_fails_the_cpu_stands_in(trt, cudart, bundle, fails, said, capsys):
    trt.fails = fails
    with pytest.raises(EngineError, match=said):
        engine = TensorRtEngine(bundle)
        engine.run(np.zeros((1, *bundle.input_shape), np.float32), 0.5)
    assert open_engine(bundle, "auto", 1).name == "onnxruntime CPU, 1 thread"
    warning = capsys.readouterr().err.splitlines()[-1]
    assert warning.startswith("warning: ")
    assert warning.endswith("; until then the head runs in onnxruntime CPU, 1 thread")


def test_device_memory_that_does_not_suffice(trt, cudart, bundle):
    cudart.memory = 1000
    with pytest.raises(EngineError, match=r"found CUDA error 2 in cudaMalloc \(out of memory\)"):
        TensorRtEngine(bundle)
    assert cudart.allocated == cudart.streams == {}


def test_a_gpu_that_is_lost_between_two_frames(trt, cudart, bundle):
    engine = TensorRtEngine(bundle)
    cudart.status = OUT_OF_MEMORY
    with pytest.raises(EngineError, match="found CUDA error 2 in cudaMemcpyAsync"):
        engine.run(np.zeros((1, *bundle.input_shape), np.float32), 0.5)


def last_of_equals(outputs):
    """The answer of a graph whose TopK takes the last of equal values, where the early-exit rule needs the first."""
    outputs["exit"] = np.where(outputs["exit"] == 1, 2, outputs["exit"])


def test_wrong_answers_are_found_at_the_start(trt, cudart, bundle, capsys):
    trt.wrong = last_of_equals
    assert open_engine(bundle, "tensorrt", 1).name == "onnxruntime CPU, 1 thread"
    assert "warning: found exit 2, label" in capsys.readouterr().err
    assert cudart.allocated == cudart.streams == {}


def test_a_threshold_that_tensorrt_took_for_a_constant(trt, bundle, monkeypatch):
    monkeypatch.setattr(tensorrt, "read_flat_head", lambda bundle: bundle.read("head_flat"))
    with pytest.raises(EngineError, match="found inputs and outputs .* in the engine of"):
        TensorRtEngine(bundle)


def test_an_image_of_another_shape(trt, bundle):
    engine = TensorRtEngine(bundle)
    with pytest.raises(EngineError, match=r"found an image of shape \(1, 3, 8, 8\); expected \(1, 3, 16, 16\)"):
        engine.run(np.zeros((1, 3, 8, 8), np.float32), 0.5)


def test_tensorrt_without_a_gpu(install, cudart, bundle, capsys):
    install(NEW)
    cudart.gpus = 0
    assert open_engine(bundle, "auto", 1).name == "onnxruntime CPU, 1 thread"
    assert capsys.readouterr() == ("", "")
    assert open_engine(bundle, "tensorrt", 1).name == "onnxruntime CPU, 1 thread"
    assert "warning: found CUDA error 100 in cudaGetDeviceCount" in capsys.readouterr().err


def test_probe_does_not_build(trt, bundle):
    before = probe_engines(bundle)[3]
    told = "TensorRT {} on NVIDIA Tegra X1 (capability 5.3), engine ".format(trt.__version__)
    assert before == ("tensorrt", told + "not built yet: the first start takes minutes", True)
    assert trt.builds == 0
    TensorRtEngine(bundle)
    assert probe_engines(bundle)[3].status == told + "built"
    assert trt.builds == 1
