"""Timing that can be trusted on a noisy machine: contenders take turns, medians are compared."""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np


def interleaved(contenders: dict[str, Callable[[], Any]], rounds: int = 25, round_s: float = 0.01) -> dict[str, float]:
    """Median microseconds a call.

    In every round each contender runs once, as often as fits into ``round_s``, so that a slow spell of the machine
    hits all of them.
    """
    counts = {}
    for name, call in contenders.items():
        call()
        started = time.perf_counter()
        call()
        counts[name] = max(1, int(round_s / (time.perf_counter() - started)))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            started = time.perf_counter()
            for _ in range(counts[name]):
                call()
            times[name].append((time.perf_counter() - started) / counts[name] * 1e6)
    return {name: float(np.median(each)) for name, each in times.items()}


def machine() -> dict[str, Any]:
    """Facts that a figure means little without."""
    packages = {}
    for name in (
        "numpy",
        "onnxruntime",
        "opencv-python-headless",
        "scipy",
        "pillow",
        "simplejpeg",
        "starlette",
        "uvicorn",
    ):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "absent"
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "machine": platform.machine(),
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": packages,
    }


def table(rows: list[list[str]]) -> str:
    """Rows of cells as Markdown, the first row as the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
