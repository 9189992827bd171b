"""Fakes of TensorRT's binding, 8.2 to 11, that run the graph with ONNX Runtime behind a fake CUDA runtime.

They have the names that the bindings have (source of 8.2; compiled 8.6.1, 10.3, 10.13 and 11.4) and no others.
"""

import ctypes
import enum
import importlib.machinery
import types

import numpy as np
import onnxruntime
import pytest

from device.engines.onnx_runtime import session_options
from tests.device.engines.test_engine_cuda import FakeCudart

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
                names = [each.name for each in self._session.get_outputs()]
                outputs = dict(zip(names, self._session.run(names, feed)))
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


def test_the_fakes_have_what_their_version_has():
    old, middle, new, newest = (FakeTensorRt(version, FakeCudart()) for version in (OLD, MIDDLE, NEW, NEWEST))
    assert not hasattr(old, "int64")
    assert not hasattr(old, "MemoryPoolType")
    assert new.int64 is new.DataType.INT64
    assert hasattr(new.BuilderFlag, "FP16")
    assert not hasattr(newest.BuilderFlag, "FP16")
    assert not hasattr(newest.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
    for trt, has, lacks in (
        (old, "max_workspace_size", "set_memory_pool_limit"),
        (middle, "set_memory_pool_limit", "no_such_thing"),
        (new, "set_memory_pool_limit", "max_workspace_size"),
    ):
        config = trt.Builder(trt.ILogger()).create_builder_config()
        assert has in dir(config)
        assert lacks not in dir(config)
        with pytest.raises(AttributeError):
            setattr(config, lacks, 1)
