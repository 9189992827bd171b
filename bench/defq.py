"""DefQ on one frame, compared to other ways to take a frame through a block DCT and back, with the vectors of this processor and
with vectors of 128 bits, which most boards have."""

import importlib
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import numpy as np

from bench.measure import table
from bench.subject import Subject

SIZES = ((32, 32), (96, 96), (128, 128), (224, 224), (480, 640))
OWN, NARROW = "own vectors", "128-bit vectors"
ROUNDS = 15


def narrow_environment() -> dict[str, str]:
    """Settings with which OpenBLAS, NumPy, OpenCV and libjpeg-turbo use vectors of at most 128 bits on x86-64.

    Nehalem is the newest processor without wider ones that OpenBLAS knows. Processors of boards have no wider vectors, and take
    no notice of these settings.
    """
    package = "numpy._core" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "numpy.core"
    core: Any = importlib.import_module(f"{package}._multiarray_umath")
    return {
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": " ".join(core.__cpu_dispatch__),
        "OPENCV_CPU_DISABLE": "AVX,FP16,FMA3,AVX2,AVX512F",
        "JSIMD_FORCESSE2": "1",
    }


def run(subjects: list[Subject]) -> dict[str, Any]:
    """Microseconds of every contender at all sizes, one thread, with the table of the last of ``subjects``.

    One process uses the processor's own vectors and another those of 128 bits. They take turns.
    """
    steps = subjects[-1].bundle.table.tolist()
    results: dict[str, Any] = {}
    with ExitStack() as stack:
        workers = {
            OWN: stack.enter_context(_worker({}, steps)),
            NARROW: stack.enter_context(_worker(narrow_environment(), steps)),
        }
        for height, width in SIZES:
            rounds: dict[str, list[dict[str, float]]] = {vectors: [] for vectors in workers}
            for _ in range(ROUNDS):
                for vectors, worker in workers.items():
                    rounds[vectors].append(_ask(worker, [height, width]))
            results[f"{width}x{height}x3"] = {
                vectors: {name: float(np.median([each[name] for each in found])) for name in found[0]}
                for vectors, found in rounds.items()
            }
        for worker in workers.values():
            assert worker.stdin is not None
            worker.stdin.close()
    return results


def _worker(environment: dict[str, str], steps: list[list[float]]) -> "subprocess.Popen[str]":
    worker = subprocess.Popen(
        [sys.executable, "-m", "bench.defq_worker"],
        env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    _tell(worker, steps)
    return worker


def _tell(worker: "subprocess.Popen[str]", what: Any) -> None:
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(what) + "\n")
    worker.stdin.flush()


def _ask(worker: "subprocess.Popen[str]", what: Any) -> dict[str, float]:
    _tell(worker, what)
    assert worker.stdout is not None
    answer = worker.stdout.readline()
    if not answer:
        raise RuntimeError("the process of bench.defq_worker has ended; its error is above")
    found: dict[str, float] = json.loads(answer)
    return found


def report(results: dict[str, Any]) -> str:
    tables = []
    for vectors in (OWN, NARROW):
        rows = [[f"one thread, {vectors}, µs of processor time a frame (times DefQ)", *results]]
        for name in next(iter(results.values()))[vectors]:
            times = [each[vectors] for each in results.values()]
            rows.append([name, *(f"{each[name]:.0f} ({each[name] / each['DefQ']:.2f}x)" for each in times)])
        tables.append(table(rows))
    return "\n\n".join(tables)
