"""Chooses an engine, and reports which engines can be used here."""

import importlib.util
import sys
import time
from typing import Callable, List, NamedTuple

import numpy as np
import onnxruntime

from device.bundle.reader import Bundle
from device.engines import cache, onnx_runtime, tensorrt
from device.engines.base import Engine
from device.engines.cuda import open_cuda
from device.engines.flat_head import TOLERANCE, TOLERANCE_FP16, check_answers, read_flat_head
from device.engines.onnx_runtime import FlatHeadOnCpu, OnnxRuntimeEngine, OnnxRuntimeGpuEngine
from device.engines.tensorrt import TensorRtEngine
from device.errors import EngineError, UsageError
from device.system.suggest import did_you_mean

CPU = "onnxruntime"
ON_GPU = ("onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt")
NAMES = ("auto", CPU, *ON_GPU)
HALF = ("auto", "onnxruntime-tensorrt", "tensorrt")  # the names that can be combined with fp16


class Probe(NamedTuple):
    """What the doctor found out about one engine."""

    name: str
    """One of NAMES."""
    status: str
    """A sentence: what it is and how fast, or why it cannot be used."""
    usable: bool


def open_engine(bundle: Bundle, name: str = "auto", threads: int = 0, fp16: bool = False) -> Engine:
    """Start an engine. If it cannot be used, ONNX Runtime on the CPU is used instead, with a warning on stderr.

    Args:
        bundle: where the head comes from.
        name: one of NAMES. ``auto`` uses TensorRT if its Python binding and a GPU are found, or else CUDA if this ONNX Runtime
            has it, or else the CPU.
        threads: of ONNX Runtime; 0 for ``default_threads()``.
        fp16: half precision in TensorRT (see TensorRtEngine).

    Returns:
        The engine; its ``name`` says what is really used.

    Raises:
        UsageError: another name, or fp16 with an engine that has no half precision.
        BundleError: the head was changed.
        EngineError: not even the CPU can run the head.
    """
    if name not in NAMES:
        raise UsageError("found --engine {}; expected {} or {}{}".format(
            name, ", ".join(NAMES[:-1]), NAMES[-1], did_you_mean(name, NAMES)))  # fmt: skip
    if fp16 and name not in HALF:
        raise UsageError("found --fp16 with --engine {}; expected {}; leave it out: ONNX Runtime computes in float32 there".format(
            name, " or ".join(HALF)))  # fmt: skip
    cpu = OnnxRuntimeEngine(bundle, threads)
    names = _candidates() if name == "auto" else [each for each in ON_GPU if each == name]
    if fp16 and not any(each in HALF for each in names):
        print("warning: found --fp16 but no TensorRT with a GPU; expected both; the head is computed in float32",
              file=sys.stderr, flush=True)  # fmt: skip
    for position, each in enumerate(names, 1):
        try:
            engine = _open_on_gpu(bundle, each, threads, fp16 and each in HALF, cpu)
            cpu.close()
            return engine
        except EngineError as error:
            instead = names[position] if position < len(names) else cpu.name
            print("warning: {}; until then the head runs in {}".format(error, instead), file=sys.stderr, flush=True)
    return cpu


def _open_on_gpu(bundle: Bundle, name: str, threads: int, fp16: bool, cpu: Engine) -> Engine:
    """Start an engine and compare its answers with those of the CPU."""
    engine = TensorRtEngine(bundle, fp16) if name == "tensorrt" else OnnxRuntimeGpuEngine(bundle, name, threads, fp16)
    try:
        same = bundle.precision["head"] == bundle.precision["head_flat"]
        reference = cpu if same else FlatHeadOnCpu(bundle)
        check_answers(engine, reference, bundle.input_shape, TOLERANCE_FP16 if fp16 else TOLERANCE)
    except BaseException:
        engine.close()
        raise
    return engine


def _candidates() -> List[str]:
    """The engines that ``auto`` tries. None is tried that is known to be absent, so a board without a GPU gets no warning."""
    names = ["tensorrt"] if importlib.util.find_spec("tensorrt") is not None else []
    if onnx_runtime.CUDA in onnxruntime.get_available_providers():
        names.append("onnxruntime-cuda")
    try:
        if names:
            open_cuda()
    except EngineError:
        return []
    return names


def probe_engines(bundle: Bundle) -> List[Probe]:
    """Try each engine on this machine. No TensorRT engine is built, since that takes minutes.

    Raises:
        BundleError: the head was changed.
    """
    looks: List[Callable[[Bundle], str]] = [_look_at_cpu, _look_at_cuda, _look_at_tensorrt_in_ort, _look_at_tensorrt]
    probes = []
    for name, look in zip((CPU, *ON_GPU), looks):
        try:
            probes.append(Probe(name, look(bundle), True))
        except EngineError as error:
            probes.append(Probe(name, str(error), False))
    return probes


def _look_at_cpu(bundle: Bundle) -> str:
    return _timed(OnnxRuntimeEngine(bundle), bundle)


def _look_at_cuda(bundle: Bundle) -> str:
    onnx_runtime.provider_of("onnxruntime-cuda")
    open_cuda()
    return _timed(_open_on_gpu(bundle, "onnxruntime-cuda", 0, False, OnnxRuntimeEngine(bundle)), bundle)


def _look_at_tensorrt_in_ort(bundle: Bundle) -> str:
    onnx_runtime.provider_of("onnxruntime-tensorrt")
    name = onnx_runtime.cache_name(read_flat_head(bundle), False)
    return "TensorRT in ONNX Runtime {} on {}, {}".format(onnxruntime.__version__, open_cuda().gpu().name, kept(name))


def _look_at_tensorrt(bundle: Bundle) -> str:
    binding = tensorrt.load_tensorrt()
    gpu = open_cuda().gpu()
    name = tensorrt.cache_name(binding, read_flat_head(bundle), False, gpu)
    return "TensorRT {} on {} (capability {}), {}".format(binding.__version__, gpu.name, gpu.capability, kept(name))


def kept(name: str) -> str:
    """Whether the cache has the engine of this name, in words."""
    return "engine built" if cache.exists(name) else "engine not built yet: the first start takes minutes"


def _timed(engine: Engine, bundle: Bundle) -> str:
    """The name of an engine and the time that it takes for all exits. The engine is closed afterwards."""
    image = np.zeros((1, *bundle.input_shape), np.float32)
    try:
        engine.run(image, 2.0)
        started_s = time.perf_counter()
        engine.run(image, 2.0)
    finally:
        engine.close()
    return "{}: all exits in {:.1f} ms".format(engine.name, (time.perf_counter() - started_s) * 1e3)
