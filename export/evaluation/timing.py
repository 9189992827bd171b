"""Comparing run times on a noisy machine: the contenders take turns, and their medians are compared."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def interleaved(
    contenders: dict[str, Callable[[], Any]],
    rounds: int = 25,
    round_s: float = 0.01,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median time of one call of each contender, in microseconds.

    In every round each contender is called repeatedly for about ``round_s`` seconds. A period in which the machine is
    slow therefore affects all contenders alike.

    Args:
        clock: gives seconds. time.thread_time counts what this thread computed, and minds little what else the machine does.
    """
    counts = {}
    for name, call in contenders.items():
        call()
        started = clock()
        call()
        counts[name] = max(1, int(round_s / (clock() - started)))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            started = clock()
            for _ in range(counts[name]):
                call()
            times[name].append((clock() - started) / counts[name] * 1e6)
    return {name: float(np.median(each)) for name, each in times.items()}
