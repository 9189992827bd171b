"""The head in ONNX Runtime, on the CPU."""

import os
from typing import Dict

import numpy as np
import onnxruntime

from device.bundle import Bundle
from device.engines.base import Engine, HeadResult
from device.errors import EngineError

OUTPUTS = ["label", "confidence", "exit", "activation"]


def session_options(threads: int) -> "onnxruntime.SessionOptions":
    """Options for small graphs on small boards.

    An explicit number of threads also keeps ONNX Runtime from pinning them, which fails in containers. Spinning is
    off: it would keep every core busy between two camera frames. Severity 3 silences the search for GPUs at start.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def default_threads() -> int:
    """All cores up to four: the number a Jetson Nano and every Raspberry Pi since the 2 have."""
    return min(4, os.cpu_count() or 1)


class OnnxRuntimeEngine(Engine):
    """Runs ``head.onnx`` (nested early exits: what lies behind the exit taken is not computed).

    Args:
        bundle: where the head comes from.
        threads: intra-op threads; 0 chooses ``default_threads()``.

    Raises:
        BundleError: the head was changed.
        EngineError: ONNX Runtime cannot load it.
    """

    name = "onnxruntime CPU"

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        model = bundle.read("head")
        try:
            self._session = onnxruntime.InferenceSession(
                model, session_options(threads or default_threads()), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no public base class
            raise EngineError(
                "ONNX Runtime {} could not load the head of {} ({}); expected opset {} support; install the onnxruntime "
                "of requirements-device.txt".format(
                    onnxruntime.__version__, bundle.path, str(error).splitlines()[0][:200],
                    bundle.manifest["graphs"]["head"].get("opset"))
            ) from error  # fmt: skip
        self._threshold = np.zeros(1, np.float32)
        self._defq = np.zeros(1, np.bool_)
        self._feed: Dict[str, np.ndarray] = {"threshold": self._threshold}
        if bundle.defq_fused:
            self._feed["defq"] = self._defq

    def run(self, image: np.ndarray, threshold: float, defq: bool = False) -> HeadResult:
        self._threshold[0] = threshold
        self._defq[0] = defq
        self._feed["image"] = image
        try:
            label, confidence, exit_, activation = self._session.run(OUTPUTS, self._feed)
        except Exception as error:
            raise EngineError("ONNX Runtime failed on a frame ({}); expected an image of the bundle's shape".format(
                str(error).splitlines()[0][:200])) from error  # fmt: skip
        left = int(exit_[0])
        return HeadResult(int(label[0]), float(confidence[0]), left, None if left else activation)
