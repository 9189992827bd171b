"""Runs the head in ONNX Runtime: on the CPU with nested early exits, or on an NVIDIA GPU through CUDA or TensorRT.

Source for the options of the GPU providers: onnxruntime.ai, "CUDA Execution Provider" and "TensorRT Execution Provider"; only
options that ONNX Runtime 1.10 knows are used. The GPU providers have not been run on hardware.
"""

import contextlib
import functools
import glob
import os
import sys
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import onnxruntime

from device.bundle.reader import FLOAT32, Bundle
from device.engines import cache
from device.engines.base import Engine, HeadResult
from device.engines.cuda import open_cuda
from device.engines.flat_head import FlatHeadEngine, read_flat_head
from device.engines.tensorrt import WORKSPACE_BYTES
from device.errors import EngineError

ANSWER = ["label", "confidence", "exit"]
OUTPUTS = [*ANSWER, "activation"]
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


def session_options(threads: int, arena: bool = True) -> "onnxruntime.SessionOptions":
    """Options for small graphs on small boards.

    With an explicit number of threads ONNX Runtime does not pin them, which fails in containers. Spinning is off because it
    keeps every core busy between two camera frames. Log severity 3 hides the messages of the search for GPUs at the start.
    Memory is not planned in one piece: that keeps every layer's output in a place of its own, where a nested head reuses
    places that the processor still has in its cache. Without the plan, frames that stay took 0.87 to 0.99 of the time.

    Args:
        threads: for one operator.
        arena: keep memory between frames. Without it, large networks need less memory on boards of 1 GB. The
            head of VGG-16 does not: 85.9 MB resident without the arena, 84.9 MB with it, and the same time, on x86-64.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = arena
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(*int8_precision())
    return options


@functools.lru_cache(maxsize=None)
def int8_precision() -> Tuple[str, str]:
    """The option of a session that says how int8 is computed, for ``add_session_config_entry``.

    On x86-64 without VNNI instructions, ONNX Runtime adds products of uint8 and int8 in 16 bits, which overflow, unless it is
    told to be exact. With VNNI nothing overflows, and being exact made EfficientNet-Lite0 1.6 times slower. Other processors,
    and releases that do not know this option, ignore it.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            vnni = "vnni" in file.read(1 << 16)
    except OSError:
        vnni = False
    return "session.x64quantprecision", "0" if vnni else "1"


def default_threads() -> int:
    """The number of cores, but at most four, which a Jetson Nano and every Raspberry Pi since the second have."""
    return min(4, os.cpu_count() or 1)


def provider_of(name: str) -> str:
    """The execution provider behind ``onnxruntime-cuda`` or ``onnxruntime-tensorrt``.

    Raises:
        EngineError: this ONNX Runtime was built without it.
    """
    provider = {"onnxruntime-cuda": CUDA, "onnxruntime-tensorrt": TENSORRT}[name]
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise EngineError("found {} in ONNX Runtime {}; expected {}; install the build for this board (docs/boards), or use "
                          "--engine onnxruntime".format(" and ".join(available), onnxruntime.__version__, provider))  # fmt: skip
    return provider


class OnnxRuntimeEngine(Engine):
    """Runs ``head.onnx`` on the CPU. Its exits are nested: blocks after the exit where a frame leaves are not computed.

    Args:
        bundle: where the head comes from.
        threads: for one operator; 0 for ``default_threads()``.
        arena: as of ``session_options``.

    Raises:
        BundleError: the head was changed.
        EngineError: ONNX Runtime cannot load it.
    """

    def __init__(self, bundle: Bundle, threads: int = 0, arena: bool = True) -> None:
        threads = threads or default_threads()
        form = "" if bundle.precision["head"] == FLOAT32 else ", " + bundle.precision["head"]
        self.name = "onnxruntime CPU, {} thread{}{}".format(threads, "" if threads == 1 else "s", form)
        model = bundle.read("head")
        try:
            self._session = onnxruntime.InferenceSession(model, session_options(threads, arena), providers=[CPU])
        except Exception as error:  # its exceptions have no public base class
            raise EngineError(
                "ONNX Runtime {} could not load the head of {} ({}); expected opset {} support; install the onnxruntime "
                "of requirements-device.txt".format(
                    onnxruntime.__version__, bundle.path, _first_line(error),
                    bundle.manifest["graphs"]["head"].get("opset"))
            ) from error  # fmt: skip
        self._outputs = outputs_of(bundle)
        self._threshold = np.zeros(1, np.float32)
        self._defq = np.zeros(1, np.bool_)
        self._feed: Dict[str, np.ndarray] = {"threshold": self._threshold}
        if bundle.defq_fused:
            self._feed["defq"] = self._defq

    def run(self, image: np.ndarray, threshold: float, defq: bool = False) -> HeadResult:
        self._threshold[0] = threshold
        self._defq[0] = defq
        self._feed["image"] = image
        return _run(self._session, self._outputs, self._feed)

    def close(self) -> None:
        self._session = None


class FlatHeadOnCpu(FlatHeadEngine):
    """Runs ``head_flat.onnx`` on the CPU: what the answers of a GPU are compared with where the other head computes in int8.

    Args:
        bundle: where the head comes from.

    Raises:
        BundleError: the head was changed.
        EngineError: ONNX Runtime cannot load it.
    """

    name = "onnxruntime CPU, flat head"

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        model = read_flat_head(bundle)
        self._outputs = outputs_of(bundle)
        try:
            self._session = onnxruntime.InferenceSession(model, session_options(default_threads()), providers=[CPU])
        except Exception as error:  # its exceptions have no public base class
            raise EngineError("ONNX Runtime {} could not load the flat head of {} ({}); expected a head of the export; export the "
                              "bundle again".format(onnxruntime.__version__, bundle.path, _first_line(error))) from error  # fmt: skip

    def run_flat(self, image: np.ndarray, threshold: float) -> HeadResult:
        return _run(self._session, self._outputs, {"image": image, "threshold": np.array([threshold], np.float32)})

    def close(self) -> None:
        self._session = None


class OnnxRuntimeGpuEngine(FlatHeadEngine):
    """Runs ``head_flat.onnx`` on an NVIDIA GPU.

    A provider that ONNX Runtime lists may have no kernels for this GPU, or ONNX Runtime may silently use the CPU instead. So
    the head is run once at the start, and then it is checked which providers are in use.

    Args:
        bundle: where the head comes from.
        name: ``onnxruntime-cuda`` or ``onnxruntime-tensorrt``.
        threads: for operators that stay on the CPU; 0 for ``default_threads()``.
        fp16: see TensorRtEngine; only with TensorRT.

    Raises:
        BundleError: the head was changed.
        EngineError: the provider is missing, or does not run the head.
    """

    def __init__(self, bundle: Bundle, name: str, threads: int = 0, fp16: bool = False) -> None:
        super().__init__(bundle)
        provider = provider_of(name)
        model = read_flat_head(bundle)
        # read by CUDA's libraries: with TF32, Ampere GPUs round factors to 10 bits; thresholds were calibrated without it
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
        cuda: Tuple[str, Dict[str, Any]] = (
            CUDA,
            {"arena_extend_strategy": "kSameAsRequested"},
        )  # GPU and CPU share memory
        providers: List[Any] = [cuda, CPU]
        self.name = "onnxruntime CUDA"
        engines = None
        if provider == TENSORRT:
            self.name = "onnxruntime TensorRT {}".format("fp16" if fp16 else "fp32")
            engines = cache.private_folder(cache_name(model, fp16))
            providers.insert(0, (TENSORRT, _tensorrt_options(engines, fp16)))
            if not _built(engines):
                print("building the TensorRT engine of {} in ONNX Runtime; this takes minutes, once".format(bundle.id),
                      file=sys.stderr, flush=True)  # fmt: skip
        self._outputs = outputs_of(bundle)
        self._threshold = np.zeros(1, np.float32)
        image = np.zeros((1, *bundle.input_shape), np.float32)
        self._feed: Dict[str, np.ndarray] = {"image": image, "threshold": self._threshold}
        used = self._start(model, providers, provider, threads)
        if provider not in used:
            raise EngineError("found {} in use where ONNX Runtime {} was asked for {}; expected the CUDA and cuDNN that it was built "
                              "for; use --engine onnxruntime".format(
                                  " and ".join(used), onnxruntime.__version__, provider))  # fmt: skip
        if engines is not None and not _built(engines):
            raise EngineError("found no engine in {} after a run with {}; expected TensorRT to take part; use --engine "
                              "onnxruntime-cuda or onnxruntime".format(engines, provider))  # fmt: skip

    def _start(self, model: bytes, providers: List[Any], provider: str, threads: int) -> List[str]:
        """Create the session and run it once. Returns the providers in use."""
        options = session_options(threads or default_threads())
        options.add_free_dimension_override_by_name("batch", 1)
        try:
            # ONNX Runtime prints to stdout when it falls back, and the decisions of --jsonl - go there
            with contextlib.redirect_stdout(sys.stderr):
                self._session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
            self._session.disable_fallback()  # for versions that do not know enable_fallback
            self._session.run(self._outputs, self._feed)
            return list(self._session.get_providers())
        except Exception as error:
            raise EngineError("found {} unable to run the head in ONNX Runtime {} ({}); expected the CUDA, cuDNN and GPU that it was "
                              "built for; use --engine onnxruntime".format(
                                  provider, onnxruntime.__version__, _first_line(error))) from error  # fmt: skip

    def run_flat(self, image: np.ndarray, threshold: float) -> HeadResult:
        self._threshold[0] = threshold
        self._feed["image"] = image
        return _run(self._session, self._outputs, self._feed)

    def close(self) -> None:
        self._session = None  # with it the GPU's memory


def cache_name(model: bytes, fp16: bool) -> str:
    """The folder in the cache for the engines that TensorRT builds inside ONNX Runtime, which does not notice when they are out of
    date.

    Raises:
        EngineError: there is no GPU.
    """
    return cache.key(model, "onnxruntime", onnxruntime.__version__, "fp16" if fp16 else "fp32", *open_cuda().gpu())


def _tensorrt_options(engines: Any, fp16: bool) -> Dict[str, Any]:
    options = {"device_id": 0, "trt_fp16_enable": fp16, "trt_max_workspace_size": WORKSPACE_BYTES}
    if engines is not None:
        options.update(trt_engine_cache_enable=True, trt_engine_cache_path=engines)
    return options


def _built(engines: Any) -> bool:
    return engines is not None and bool(glob.glob(os.path.join(glob.escape(engines), "*.engine")))


def outputs_of(bundle: Bundle) -> List[str]:
    """The outputs of a bundle's heads that are read. Heads of older bundles have more."""
    return OUTPUTS if bundle.has_tail else ANSWER


def _run(
    session: "Optional[onnxruntime.InferenceSession]", outputs: List[str], feed: Dict[str, np.ndarray]
) -> HeadResult:
    if session is None:
        raise EngineError("found a frame for an engine that was closed; expected one that is open; open it again")
    try:
        label, confidence, exit_, *activation = session.run(outputs, feed)
    except Exception as error:
        raise EngineError("ONNX Runtime failed on a frame ({}); expected an image of the bundle's shape".format(
            _first_line(error))) from error  # fmt: skip
    left = int(exit_[0])
    return HeadResult(int(label[0]), float(confidence[0]), left, None if left else activation[0])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
