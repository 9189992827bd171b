"""A line a second on a terminal, for the person who watches a run."""

import sys
import time
from typing import Callable

import numpy as np

from device.cameras.base import Frame
from device.loop.sinks import Decision, Sink

PERIOD_S = 1.0


class ProgressSink(Sink):
    """Hands decisions on to another sink, and shows every second how the frames of that second went.

    Args:
        inner: takes the decisions.
        show: takes the line; the default prints it on stderr.
        clock: seconds.

    Example:
        >>> clock = iter([0.0, 0.5, 1.0])
        >>> progress = ProgressSink(Sink(), print, lambda: next(clock))
        >>> for index, label in enumerate(("cat", "dog")):
        ...     progress.write(Decision(index, 3, label, 0.87, 1, "edge", {}, 0), None, None)
        2.0 frames/s, 100 % left on the device, last label: dog (87 % confident, exit 1)
    """

    def __init__(
        self, inner: Sink, show: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._inner = inner
        self._show = show
        self._clock = clock
        self._began_s = clock()
        self._frames = 0
        self._left = 0

    def write(self, decision: Decision, frame: Frame, pixels: np.ndarray) -> None:
        self._inner.write(decision, frame, pixels)
        self._frames += 1
        self._left += decision.source == "edge"
        now_s = self._clock()
        spent_s = now_s - self._began_s
        if spent_s < PERIOD_S:
            return
        self._show("{:.1f} frames/s, {:.0f} % left on the device, last label: {} ({:.0f} % confident, exit {}{})".format(
            self._frames / spent_s, 100 * self._left / self._frames, decision.label, 100 * decision.confidence,
            decision.exit, ", no host answered" if decision.source == "fallback" else ""))  # fmt: skip
        self._began_s, self._frames, self._left = now_s, 0, 0

    def close(self) -> None:
        self._inner.close()
