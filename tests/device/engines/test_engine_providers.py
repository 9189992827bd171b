"""The GPU providers of ONNX Runtime, against a fake session that lists them and computes on the CPU."""

import os
import sys

import numpy as np
import onnxruntime
import pytest

from device.engines import onnx_runtime
from device.engines.onnx_runtime import CPU, CUDA, TENSORRT, OnnxRuntimeEngine, OnnxRuntimeGpuEngine
from device.engines.open import open_engine, probe_engines
from device.errors import EngineError
from tests.device.engines.test_engine import images, same
from tests.device.engines.test_engine_cuda import FakeCudart, use

Real = onnxruntime.InferenceSession
# Those of ONNX Runtime 1.10 (docs/execution-providers): an unknown one is an error
OPTIONS = {
    CUDA: {"device_id", "gpu_mem_limit", "arena_extend_strategy", "cudnn_conv_algo_search", "do_copy_in_default_stream"},
    TENSORRT: {"device_id", "trt_max_workspace_size", "trt_max_partition_iterations", "trt_min_subgraph_size",
               "trt_fp16_enable", "trt_int8_enable", "trt_engine_cache_enable", "trt_engine_cache_path"},
}  # fmt: skip
BACK_ON_THE_CPU = "*************** EP Error ***************"


class FakeRuntime:
    """A fake ONNX Runtime. Tests set ``fails`` (creation, run, silently or nothing) and ``takes_part`` (whether TensorRT gets any node)."""

    def __init__(self):
        self.fails, self.takes_part, self.wrong, self.sessions = "", True, False, []


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    fake = FakeRuntime()

    class Session:
        """As InferenceSession of a build with CUDA and TensorRT."""

        def __init__(self, model, options, providers, enable_fallback=1):
            self.real = Real(model, options, providers=[CPU])
            self.providers = [each if isinstance(each, str) else each[0] for each in providers]
            self.options = {name: values for name, values in (each for each in providers if isinstance(each, tuple))}
            for name, values in self.options.items():
                assert set(values) <= OPTIONS[name]
            self.fallback = True
            fake.sessions.append(self)
            if self.providers == [CPU]:
                return
            if fake.fails == "creation":
                print(BACK_ON_THE_CPU)
                raise RuntimeError("CUDA failure 35: CUDA driver version is insufficient\nat cuda_call.cc:124")
            if fake.fails == "silently":
                self.providers = [CPU]
            elif TENSORRT in self.options and fake.takes_part:
                self._build(self.options[TENSORRT])

        def get_outputs(self):
            return self.real.get_outputs()

        def _build(self, options):
            if options.get("trt_engine_cache_enable"):
                with open(
                    os.path.join(options["trt_engine_cache_path"], "TRTKernel_graph_flat_head_1_0_sm53.engine"), "w"
                ):
                    pass

        def disable_fallback(self):
            self.fallback = False

        def get_providers(self):
            return self.providers

        def run(self, outputs, feed):
            on_gpu = self.providers != [CPU]
            if on_gpu and fake.fails == "run":
                assert not self.fallback  # it would go on without the GPU and print to stdout
                raise RuntimeError("CUDA error 209: no kernel image is available for execution on the device")
            answer = self.real.run(outputs, feed)
            if on_gpu and fake.wrong:
                answer[1] = answer[1] / 2
            return answer

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setenv("DEFQ_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")  # so that what the engine sets does not outlive the test
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    use(monkeypatch, {"libcudart.so.12": FakeCudart(1, b"Orin", (8, 7), 8)})
    return fake


NAMED = {"onnxruntime-cuda": "onnxruntime CUDA", "onnxruntime-tensorrt": "onnxruntime TensorRT fp32"}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_it_decides_as_the_nested_head(runtime, bundle, frames, name):
    cpu, engine = OnnxRuntimeEngine(bundle, 1), open_engine(bundle, name)
    assert engine.name == NAMED[name]
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    for image in images(bundle, frames):
        for threshold in (0.0, 0.62, 2.0):
            same(engine.run(image, threshold), cpu.run(image, threshold))


def test_auto_takes_cuda_where_tensorrt_has_no_binding(runtime, bundle, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert open_engine(bundle).name == "onnxruntime CUDA"
    runtime.fails = "run"
    assert open_engine(bundle, "auto", 1).name == "onnxruntime CPU, 1 thread"
    assert "warning: found CUDAExecutionProvider unable" in capsys.readouterr().err
    use(monkeypatch, {})  # the wheel for GPUs on a machine without one
    assert open_engine(bundle, "auto", 1).name == "onnxruntime CPU, 1 thread"
    assert capsys.readouterr() == ("", "")


def test_auto_goes_on_to_cuda_where_tensorrt_does_not_start(runtime, bundle, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # its import fails, as where libnvinfer is missing
    assert open_engine(bundle, fp16=True).name == "onnxruntime CUDA"
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: found no TensorRT for this Python (")
    assert warning.endswith("; until then the head runs in onnxruntime-cuda")
    runtime.fails = "run"
    assert open_engine(bundle, "auto", 1).name == "onnxruntime CPU, 1 thread"
    assert capsys.readouterr().err.endswith("; until then the head runs in onnxruntime CPU, 1 thread\n")


@pytest.mark.parametrize(("fails", "said"), [
    ("creation", r"unable to run the head in ONNX Runtime \S+ \(CUDA failure 35: CUDA driver version is insufficient\); expected"),
    ("run", r"unable to run the head in ONNX Runtime \S+ \(CUDA error 209: no kernel image is available for execution on the device\)"),
    ("silently", r"found CPUExecutionProvider in use where ONNX Runtime \S+ was asked for \w+; expected the CUDA and cuDNN"),
])  # fmt: skip
@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_provider_that_is_listed_but_does_not_work(runtime, bundle, name, fails, said, capsys):
    runtime.fails = fails
    with pytest.raises(EngineError, match=said):
        OnnxRuntimeGpuEngine(bundle, name)
    assert open_engine(bundle, name, 1).name == "onnxruntime CPU, 1 thread"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("warning: found ")
    assert err.count("warning: ") == 1


def test_wrong_answers_are_found_at_the_start(runtime, bundle, capsys):
    runtime.wrong = True
    assert open_engine(bundle, "onnxruntime-cuda", 1).name == "onnxruntime CPU, 1 thread"
    assert "in onnxruntime CUDA where ONNX Runtime on the CPU has" in capsys.readouterr().err


def test_tensorrt_keeps_its_engines_and_announces_the_wait(runtime, bundle, capsys):
    wait = "building the TensorRT engine of {} in ONNX Runtime; this takes minutes, once\n".format(bundle.id)
    open_engine(bundle, "onnxruntime-tensorrt")
    assert capsys.readouterr() == ("", wait)
    (options,) = (each.options[TENSORRT] for each in runtime.sessions if each.options)
    assert options["trt_max_workspace_size"] == 256 << 20
    assert options["trt_fp16_enable"] is False
    open_engine(bundle, "onnxruntime-tensorrt")
    assert capsys.readouterr() == ("", "")
    assert open_engine(bundle, "onnxruntime-tensorrt", fp16=True).name == "onnxruntime TensorRT fp16"
    assert capsys.readouterr() == ("", wait)
    assert runtime.sessions[-1].options[TENSORRT]["trt_fp16_enable"] is True


def test_tensorrt_that_takes_no_part(runtime, bundle, capsys):
    runtime.takes_part = False
    assert open_engine(bundle, "onnxruntime-tensorrt", 1).name == "onnxruntime CPU, 1 thread"
    assert "warning: found no engine in " in capsys.readouterr().err


def test_tensorrt_without_a_cache(runtime, bundle, monkeypatch, tmp_path, capsys):
    taken = tmp_path / "file"
    taken.write_text("")
    monkeypatch.setenv("DEFQ_ENGINES", str(taken))
    assert open_engine(bundle, "onnxruntime-tensorrt").name == "onnxruntime TensorRT fp32"
    assert "warning: found no use for the engine cache" in capsys.readouterr().err
    assert "trt_engine_cache_path" not in runtime.sessions[-1].options[TENSORRT]


def test_a_frame_of_another_shape_is_one_sentence(runtime, bundle):
    engine = open_engine(bundle, "onnxruntime-cuda")
    with pytest.raises(EngineError, match="ONNX Runtime failed on a frame"):
        engine.run(np.zeros((1, 3, 8, 8), np.float32), 0.5)


def test_probe_runs_cuda_and_builds_nothing(runtime, bundle):
    cuda, tensorrt = probe_engines(bundle)[1:3]
    assert cuda.usable
    assert cuda.status.startswith("onnxruntime CUDA: all exits in ")
    version = onnxruntime.__version__
    told = "TensorRT in ONNX Runtime {} on Orin, engine ".format(version)
    assert tensorrt == ("onnxruntime-tensorrt", told + "not built yet: the first start takes minutes", True)
    OnnxRuntimeGpuEngine(bundle, "onnxruntime-tensorrt")
    assert probe_engines(bundle)[2].status == told + "built"
    runtime.fails = "run"
    assert "no kernel image is available" in probe_engines(bundle)[1].status
    assert not probe_engines(bundle)[1].usable


def test_a_provider_that_is_not_listed(runtime, bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    with pytest.raises(EngineError, match="found CUDAExecutionProvider and CPUExecutionProvider in ONNX Runtime"):
        onnx_runtime.provider_of("onnxruntime-tensorrt")
