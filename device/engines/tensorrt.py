"""Runs the head in TensorRT's own Python binding, which JetPack installs for the system's Python: TensorRT 8.2 (JetPack 4.6.1,
Python 3.6) to 10.

The binding has two interfaces, and both are supported: numbered bindings (up to 8.4) and named tensors (from 8.5 on; 10 has
no others). Names and arguments were checked against the source of the 8.2 binding (NVIDIA/TensorRT, python/src) and against the
compiled bindings of 8.6.1, 10.3, 10.13 and 11.4. This module has not been run on hardware.
"""

import functools
import importlib
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from device.bundle.reader import Bundle
from device.engines import cache
from device.engines.base import HeadResult
from device.engines.cuda import Gpu, open_cuda
from device.engines.flat_head import FlatHeadEngine, read_flat_head
from device.errors import EngineError

# For building an engine. CPU and GPU of a board share their memory, and a build that takes all of it is killed (jetson-inference#649)
WORKSPACE_BYTES = 256 << 20
INPUTS = ("image", "threshold")
ANSWER = ("label", "confidence", "exit")
VERSIONS = "expected TensorRT 8.2 to 10 (JetPack 4.6.1 or newer)"


class Tensor(NamedTuple):
    """An input or output of an engine, in the order of its bindings."""

    name: str
    shape: Tuple[int, ...]
    dtype: np.dtype


class TensorRtEngine(FlatHeadEngine):
    """Builds an engine from ``head_flat.onnx``, or loads the one that it built before (device/engines/cache.py).

    Args:
        bundle: where the head comes from.
        fp16: let TensorRT compute in half precision. It is off by default because thresholds are calibrated in float32 and half
            precision changes confidences (by 0.0018 at most for VGG-16 with PyTorch in float16 on x86-64). TF32 is always off.

    Raises:
        BundleError: the head was changed.
        EngineError: TensorRT or a GPU is missing, or TensorRT cannot build or load the engine.
    """

    def __init__(self, bundle: Bundle, fp16: bool = False) -> None:
        super().__init__(bundle)
        trt = load_tensorrt()
        self._cuda = open_cuda()
        self._addresses: Dict[str, int] = {}
        self._stream = 0
        gpu = self._cuda.gpu()
        self.name = "TensorRT {} {}, {}".format(trt.__version__, "fp16" if fp16 else "fp32", gpu.name)
        self._log = _logger(trt)
        model = read_flat_head(bundle)
        try:
            self._engine = _engine(trt, self._log, model, bundle, fp16, gpu)
            self._start(trt, bundle)
        except EngineError:
            self.close()
            raise
        except Exception as error:  # pybind11 raises TypeError for a null pointer, RuntimeError for the rest
            self.close()
            raise EngineError("found TensorRT {} unable to run the head of {} ({}); {}; use --engine onnxruntime".format(
                trt.__version__, bundle.path, self._log.reason(error), VERSIONS)) from error  # fmt: skip

    def _start(self, trt: Any, bundle: Bundle) -> None:
        """Create the context and its buffers, and bind them."""
        tensors = {tensor.name: tensor for tensor in _tensors(trt, self._engine)}
        expected = {"image": (1, *bundle.input_shape), "threshold": (1,)}
        if bundle.has_tail:
            expected["activation"] = (1, *bundle.activation_shape)
        expected.update((name, (1,)) for name in ANSWER)
        found = {name: tensor.shape for name, tensor in tensors.items()}
        if found != expected:
            raise EngineError("found inputs and outputs {} in the engine of {}; expected {}; export the bundle again".format(
                found, bundle.path, expected))  # fmt: skip
        self._context = self._engine.create_execution_context()
        self._stream = self._cuda.create_stream()
        for name, tensor in tensors.items():
            size = int(np.prod(tensor.shape)) * tensor.dtype.itemsize
            self._addresses[name] = self._cuda.allocate(size)
        self._execute = _execution(self._context, self._addresses, self._stream)
        self._image_shape = expected["image"]
        self._threshold = np.zeros(1, np.float32)
        self._answer = {name: np.zeros(1, tensors[name].dtype) for name in ANSWER}
        self._activation = tensors.get("activation")

    def run_flat(self, image: np.ndarray, threshold: float) -> HeadResult:
        if image.shape != self._image_shape:
            raise EngineError(
                "found an image of shape {}; expected {}, the bundle's".format(image.shape, self._image_shape)
            )
        cuda, addresses, stream = self._cuda, self._addresses, self._stream
        image = np.ascontiguousarray(image, np.float32)
        self._threshold[0] = threshold
        cuda.to_device(addresses["image"], image, stream)
        cuda.to_device(addresses["threshold"], self._threshold, stream)
        if not self._execute():
            raise EngineError("TensorRT failed on a frame ({}); expected a GPU that is free and has memory left; use --engine "
                              "onnxruntime".format(self._log.reason()))  # fmt: skip
        for name, array in self._answer.items():
            cuda.to_host(array, addresses[name], stream)
        cuda.synchronize(stream)
        label, confidence, left = (self._answer[name].item() for name in ANSWER)
        activation = None
        if (
            not left and self._activation is not None
        ):  # the activation is the largest output, so only frames that need it fetch it
            activation = np.empty(self._activation.shape, self._activation.dtype)
            cuda.to_host(activation, addresses["activation"], stream)
            cuda.synchronize(stream)
            activation = activation.astype(np.float32, copy=False)
        return HeadResult(int(label), float(confidence), int(left), activation)

    def close(self) -> None:
        """Free the device memory."""
        for address in self._addresses.values():
            self._cuda.free(address)
        self._addresses = {}
        if self._stream:
            self._cuda.destroy_stream(self._stream)
            self._stream = 0


def load_tensorrt() -> Any:
    """The binding.

    Raises:
        EngineError: it is not installed for this Python, or its libraries are missing.
    """
    try:
        return importlib.import_module("tensorrt")
    except ImportError as error:
        raise EngineError("found no TensorRT for this Python ({}); {} and the system's Python, or a virtual environment made "
                          "with --system-site-packages; use --engine onnxruntime".format(error, VERSIONS)) from error  # fmt: skip


def cache_name(trt: Any, model: bytes, fp16: bool, gpu: Gpu) -> str:
    """The file of an engine in the cache. TensorRT itself refuses engines of other versions, but not engines of other graphs."""
    return cache.key(model, "tensorrt", trt.__version__, "fp16" if fp16 else "fp32", *gpu) + ".engine"


def _engine(trt: Any, log: Any, model: bytes, bundle: Bundle, fp16: bool, gpu: Gpu) -> Any:
    """Load the engine from the cache, or build and store it."""
    name = cache_name(trt, model, fp16, gpu)
    runtime = trt.Runtime(log)
    plan = cache.load(name)  # from a folder that nobody else can write to: an engine is code
    if plan is not None:
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is not None:
            return engine
        print("warning: TensorRT cannot load the engine that it built before ({}); it is built again".format(log.reason()),
              file=sys.stderr, flush=True)  # fmt: skip
    print("building the TensorRT engine of {} for {}; this takes minutes, once".format(bundle.id, gpu.name),
          file=sys.stderr, flush=True)  # fmt: skip
    started_s = time.monotonic()
    plan = _build(trt, log, model, (1, *bundle.input_shape), fp16)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError("found TensorRT {} unable to load the engine that it has just built ({}); {}; use --engine "
                          "onnxruntime".format(trt.__version__, log.reason(), VERSIONS))  # fmt: skip
    print("built the TensorRT engine in {:.0f} s".format(time.monotonic() - started_s), file=sys.stderr, flush=True)
    cache.store(name, plan)
    return engine


def _build(trt: Any, log: Any, model: bytes, image_shape: Tuple[int, ...], fp16: bool) -> bytes:
    """Build an engine for a batch of one frame, serialised.

    Raises:
        EngineError: TensorRT cannot read the graph, cannot build it, or has no fp16 for it.
    """
    builder = trt.Builder(log)
    # from TensorRT 10 on all networks have an explicit batch, and 11 has no flag for it any more
    explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise EngineError("found TensorRT {} unable to read the head ({}); {}; use --engine onnxruntime".format(
            trt.__version__, errors[:300] or log.reason(), VERSIONS))  # fmt: skip
    for index in range(network.num_inputs):
        if network.get_input(index).name == "image":
            network.get_input(index).shape = image_shape  # the batch axis is open in the graph
    config = builder.create_builder_config()
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    else:
        config.max_workspace_size = WORKSPACE_BYTES
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default; with it, Ampere GPUs round factors to 10 bits
    if fp16:
        if not hasattr(trt.BuilderFlag, "FP16"):
            raise EngineError("found --fp16 with TensorRT {}, which takes the precision from the graph; expected TensorRT 8.2 "
                              "to 10; leave out --fp16".format(trt.__version__))  # fmt: skip
        config.set_flag(trt.BuilderFlag.FP16)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError("found TensorRT {} unable to build the engine ({}); expected enough free memory; close other "
                          "programs or add swap, or use --engine onnxruntime".format(
                              trt.__version__, log.reason()))  # fmt: skip
    return bytes(memoryview(plan))


def _tensors(trt: Any, engine: Any) -> List[Tensor]:
    """All inputs and outputs. TensorRT 8 has no int64 and uses int32 instead."""
    types = {
        getattr(trt, name): np.dtype(name) for name in ("float32", "float16", "int32", "int64") if hasattr(trt, name)
    }
    if hasattr(engine, "num_io_tensors"):
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return [
            Tensor(name, tuple(engine.get_tensor_shape(name)), types[engine.get_tensor_dtype(name)]) for name in names
        ]
    return [Tensor(engine.get_binding_name(index), tuple(engine.get_binding_shape(index)), types[engine.get_binding_dtype(index)])
            for index in range(engine.num_bindings)]  # fmt: skip


def _execution(context: Any, addresses: Dict[str, int], stream: int) -> Callable[[], bool]:
    """A function that queues one run on the stream and returns whether TensorRT accepted it.

    Args:
        addresses: name -> device address, in the order of the bindings.
    """
    if not hasattr(context, "execute_async_v3"):
        return functools.partial(context.execute_async_v2, bindings=list(addresses.values()), stream_handle=stream)
    for name, address in addresses.items():
        if not context.set_tensor_address(name, address):
            raise RuntimeError("no tensor {}".format(name))
    return functools.partial(context.execute_async_v3, stream_handle=stream)


@functools.lru_cache(maxsize=None)
def _logger(trt: Any) -> Any:
    """TensorRT's logger, one for the process as TensorRT requires. It keeps the last error for our messages. TensorRT's own logger
    prints to stdout, where the decisions of ``--jsonl -`` go."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)
            self._last = ""

        def log(self, severity: Any, msg: str) -> None:
            if severity in self._errors:
                self._last = msg

        def reason(self, error: Optional[Exception] = None) -> str:
            """The last error, or else the text of an exception, on one line. The last error is forgotten afterwards."""
            lines = (self._last or str(error or "")).strip().splitlines() or ["no reason given"]
            self._last = ""
            return lines[0][:300]

    return Logger()
