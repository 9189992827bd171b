"""TensorRT against fakes of its binding, 8.2 and 10, that run the graph with ONNX Runtime behind a fake CUDA runtime.

The fakes have the names that the bindings have (source of 8.2; compiled 8.6.1, 10.3, 10.13 and 11.4) and no others.
"""

import ctypes
import enum
import importlib.machinery
import os
import stat
import sys
import types

import numpy as np
import onnxruntime
import pytest

from device.engines import OnnxRuntimeEngine, open_engine, probe_engines, tensorrt
from device.engines.onnx_runtime import OUTPUTS, session_options
from device.engines.tensorrt import TensorRtEngine
from device.errors import EngineError
from tests.device.test_engine import images, same
from tests.device.test_engine_cuda import OUT_OF_MEMORY, FakeCudart, use

OLD, MIDDLE, NEW, NEWEST = "8.2.1.8", "8.5.2.2", "10.3.0", "11.4.0"  # JetPack 4.6, 5.1, 6.2, none yet
SEVERITY = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
NULL = "pybind11::init(): factory function returned nullptr"


class IHostMemory(bytearray):
    """A serialised engine, as a buffer."""


class FakeTensorRt(types.ModuleType):
    """The module ``tensorrt`` of one version on one GPU.

    What the tests turn: ``fails`` names a step that fails, ``wrong`` changes the outputs of a run. ``builds`` counts.
    """

    def __init__(self, version, cudart):
        super().__init__("tensorrt")
        self.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
        self.__version__ = version
        self.cudart, self.fails, self.wrong, self.builds, self.configs = cudart, "", None, 0, []
        newest = version == NEWEST
        types_ = ["FLOAT", "HALF", "INT8", "INT32", "BOOL"] + (
            ["UINT8", "BF16", "INT64"] if version in (NEW, NEWEST) else []
        )
        self.DataType = enum.Enum("DataType", types_)
        for name, member in (("float32", "FLOAT"), ("float16", "HALF"), ("int32", "INT32"), ("int64", "INT64")):
            if member in types_:
                setattr(self, name, self.DataType[member])
        flags = ["INT8", "TF32"] if newest else ["FP16", "INT8", "TF32"]
        self.BuilderFlag = enum.Enum("BuilderFlag", flags)
        creation = {"STRONGLY_TYPED": 1} if newest else {"EXPLICIT_BATCH": 0}
        self.NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", creation)
        if version != OLD:
            self.MemoryPoolType = enum.Enum("MemoryPoolType", ["WORKSPACE", "DLA_MANAGED_SRAM"])
        self.ILogger, self.Builder, self.OnnxParser, self.Runtime = _classes(self)


def _classes(trt):
    old, middle = trt.__version__ == OLD, trt.__version__ == MIDDLE

    class ILogger:
        Severity = enum.IntEnum("Severity", [(name, number) for number, name in enumerate(SEVERITY)])

        def __init__(self):
            self.made = True  # pybind11 refuses an object whose base was not made

    for severity in ILogger.Severity:
        setattr(ILogger, severity.name, severity)

    def checked(logger):
        assert isinstance(logger, ILogger)
        assert logger.made
        return logger

    class Tensor:
        __slots__ = ("name", "shape")

        def __init__(self, name, shape):
            self.name, self.shape = name, shape

    class Network:
        def __init__(self, explicit):
            self.explicit, self.inputs, self.model = explicit, [], None

        num_inputs = property(lambda self: len(self.inputs))

        def get_input(self, index):
            return self.inputs[index]

    class Config:
        __slots__ = ("flags", "max_workspace_size", "pools") if old or middle else ("flags", "pools")

        def __init__(self):
            self.flags, self.pools = {"TF32"}, {}
            trt.configs.append(self)

        def set_flag(self, flag):
            self.flags.add(trt.BuilderFlag(flag).name)

        def clear_flag(self, flag):
            self.flags.discard(trt.BuilderFlag(flag).name)

    if not old:

        def set_memory_pool_limit(self, pool, pool_size):
            self.pools[trt.MemoryPoolType(pool).name] = int(pool_size)

        Config.set_memory_pool_limit = set_memory_pool_limit

    class Builder:
        def __init__(self, logger):
            self.logger = checked(logger)
            if trt.fails == "builder":
                logger.log(ILogger.ERROR, "createInferBuilder: CUDA initialization failure with error: 2\nmore")
                raise TypeError(NULL)

        def create_network(self, flags=0):
            return Network(flags & 1 if old or middle else True)

        def create_builder_config(self):
            return Config()

        def build_serialized_network(self, network, config):
            self.logger.log(ILogger.WARNING, "Half2 support requested on hardware without native FP16 support")
            if trt.fails == "build":
                self.logger.log(
                    ILogger.ERROR, "[defaultAllocator.cpp::allocate] Error Code 1: Cuda Runtime (out of memory)"
                )
                return None
            if any(-1 in tensor.shape for tensor in network.inputs):
                self.logger.log(
                    ILogger.ERROR, "Network has dynamic or shape inputs, but no optimization profile has been defined."
                )
                return None
            trt.builds += 1
            head = "PLAN {} {} {}\n".format(trt.__version__, trt.cudart.name.decode(), "FP16" in config.flags)
            return IHostMemory(head.encode() + network.model)

    class ParserError:
        def desc(self):
            return "Failed to parse the model: invalid protobuf" if trt.fails != "parse" else "no importer for Pad"

    class OnnxParser:
        def __init__(self, network, logger):
            self.network, self.num_errors = network, 0
            checked(logger)

        def parse(self, model, path=None):
            """As onnx-tensorrt does: what has an initialiser is no input."""
            try:
                assert self.network.explicit
                assert trt.fails != "parse"
                session = onnxruntime.InferenceSession(bytes(model), session_options(1), ["CPUExecutionProvider"])
            except Exception:
                self.num_errors = 1
                return False
            self.network.model = bytes(model)
            for each in session.get_inputs():
                shape = tuple(side if isinstance(side, int) else -1 for side in each.shape)
                self.network.inputs.append(Tensor(each.name, shape))
            return True

        def get_error(self, index):
            assert index < self.num_errors
            return ParserError()

    class Runtime:
        def __init__(self, logger):
            self.logger = checked(logger)

        def deserialize_cuda_engine(self, serialized_engine):
            head, _, model = bytes(memoryview(serialized_engine)).partition(b"\n")
            if trt.fails == "load" or head.split()[:2] != [b"PLAN", trt.__version__.encode()]:
                self.logger.log(
                    ILogger.ERROR, "Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not match"
                )
                return None
            return (OldEngine if old else MiddleEngine if middle else Engine)(model, head.endswith(b"True"))

    class _Engine:
        def __init__(self, model, half):
            self._session = onnxruntime.InferenceSession(model, session_options(1), ["CPUExecutionProvider"])
            self._inputs, self._half = [each.name for each in self._session.get_inputs()], half
            both = [*self._session.get_inputs(), *self._session.get_outputs()]
            whole = trt.DataType.INT32 if old or middle else trt.DataType.INT64
            self._names = [each.name for each in both]
            self._shapes = {
                each.name: tuple(side if isinstance(side, int) else 1 for side in each.shape) for each in both
            }
            self._types = {each.name: trt.DataType.FLOAT if each.type == "tensor(float)" else whole for each in both}

        def _run(self, addresses, stream):
            def view(name):
                dtype = {"FLOAT": np.float32, "INT32": np.int32, "INT64": np.int64}[self._types[name].name]
                array = np.zeros(self._shapes[name], dtype)
                assert array.nbytes == len(trt.cudart.allocated[addresses[name]])
                return array, addresses[name]

            def work():
                feed = {}
                for name in self._inputs:
                    feed[name], address = view(name)
                    ctypes.memmove(feed[name].ctypes.data, address, feed[name].nbytes)
                outputs = dict(zip(OUTPUTS, self._session.run(OUTPUTS, feed)))
                if self._half:
                    outputs.update((name, outputs[name].astype(np.float16)) for name in ("confidence", "activation"))
                if trt.wrong is not None:
                    trt.wrong(outputs)
                for name, values in outputs.items():
                    array, address = view(name)
                    array[...] = values
                    ctypes.memmove(address, array.ctypes.data, array.nbytes)

            if trt.fails == "run":
                return False
            trt.cudart.streams[stream].append(work)
            return True

    class OldEngine(_Engine):
        num_bindings = property(lambda self: len(self._names))

        def get_binding_name(self, index):
            return self._names[index]

        def get_binding_shape(self, index):
            return list(self._shapes[self._names[index]])

        def get_binding_dtype(self, index):
            return self._types[self._names[index]]

        def create_execution_context(self):
            return OldContext(self)

    class Engine(_Engine):
        num_io_tensors = property(lambda self: len(self._names))

        def get_tensor_name(self, index):
            return self._names[index]

        def get_tensor_shape(self, name):
            return list(self._shapes[name])

        def get_tensor_dtype(self, name):
            return self._types[name]

        def create_execution_context(self, strategy=None):
            return Context(self)

    class MiddleEngine(OldEngine, Engine):
        def create_execution_context(self):
            return MiddleContext(self)

    class OldContext:
        def __init__(self, engine):
            self._engine = engine

        def execute_async_v2(self, bindings, stream_handle, input_consumed=None):
            return self._engine._run(dict(zip(self._engine._names, bindings)), stream_handle)

    class Context:
        def __init__(self, engine):
            self._engine, self._addresses = engine, {}

        def set_tensor_address(self, name, memory):
            self._addresses[name] = memory
            return name in self._engine._names

        def execute_async_v3(self, stream_handle):
            return self._engine._run(self._addresses, stream_handle)

    class MiddleContext(OldContext, Context):
        def __init__(self, engine):
            Context.__init__(self, engine)

    return ILogger, Builder, OnnxParser, Runtime


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


def test_the_fakes_have_what_their_version_has(install):
    old, new, newest = install(OLD), install(NEW), install(NEWEST)
    assert not hasattr(old, "int64")
    assert not hasattr(old, "MemoryPoolType")
    assert new.int64 is new.DataType.INT64
    assert hasattr(new.BuilderFlag, "FP16")
    assert not hasattr(newest.BuilderFlag, "FP16")
    assert not hasattr(newest.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
    config = new.Builder(tensorrt._logger(new)).create_builder_config()
    with pytest.raises(AttributeError):
        config.max_workspace_size = 1
    config = old.Builder(tensorrt._logger(old)).create_builder_config()
    with pytest.raises(AttributeError):
        config.set_memory_pool_limit(None, 1)


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


def test_auto_takes_it(trt, bundle):
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
            **dict(bundle._asdict(), read=lambda graph, read=bundle.read: read(graph) + note)
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
def test_fp16(install, bundle, frames, version):
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
    """What a TopK that does not take the first of equals makes of the early-exit rule."""
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
