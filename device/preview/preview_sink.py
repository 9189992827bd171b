"""The preview's sink: all that the loop pays for the page."""

import threading
import time
from typing import Callable, List, NamedTuple, Optional, Sequence, Set

import numpy as np

from device.cameras.base import Frame
from device.loop.sinks import Decision, Sink
from device.preview.attackers import Attacker
from device.preview.comparison import Comparison, Row
from device.preview.host_watch import HostWatch
from device.preview.last_minute import LastMinute, Point


class Shot(NamedTuple):
    """A frame and what was decided on it."""

    number: int
    """Counts them from 1."""
    decision: Decision
    frame: Frame
    pixels: np.ndarray
    """What the network was to see of it, before DefQ."""
    attacked: bool


class Now(NamedTuple):
    """All that the sink knows, at one moment."""

    newest: Optional[Shot]
    quiet_s: float
    """Seconds since the newest frame, or since the start."""
    host_down_s: Optional[float]
    points: List[Point]
    rows: List[Row]


class PreviewSink(Sink):
    """Keeps the newest frame, and counts decisions for the curves and for the comparison.

    Args:
        relative_costs: of the network's exits.
        split: a frame that leaves at exits 1 to ``split`` counts as one that left early.
        has_host: whether there is a host that could answer.
        clock: seconds.
    """

    def __init__(
        self,
        relative_costs: Sequence[float],
        split: int,
        has_host: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.newest: Optional[Shot] = None
        self._has_host = has_host
        self._clock = clock
        self._last_s = clock()
        self._lock = threading.Lock()
        self._changed: Set[int] = set()  # indices of frames on their way that an attacker has changed
        self._host = HostWatch()
        self._minute = LastMinute(relative_costs, split, clock)
        self._comparison = Comparison(relative_costs, split)

    def watched(self, attacker: Attacker) -> Callable[[Frame, np.ndarray], np.ndarray]:
        """The attacker, for the loop; what it leaves as it is does not count as attacked."""

        def attack(frame: Frame, pixels: np.ndarray) -> np.ndarray:
            changed = attacker(frame, pixels)
            if changed is not pixels:
                with self._lock:
                    self._changed.add(frame.index)
            return changed

        return attack

    def write(self, decision: Decision, frame: Frame, pixels: np.ndarray) -> None:
        with self._lock:
            attacked = frame.index in self._changed
            self._changed.discard(frame.index)
            number = 1 if self.newest is None else self.newest.number + 1
            self.newest = Shot(number, decision, frame, pixels, attacked)
            self._last_s = self._clock()
            if self._has_host and not decision.capped:  # a frame that was not sent says nothing of the host
                self._host.see(decision.source, self._last_s)
            self._minute.add(decision, attacked, self._host.is_down)
            self._comparison.add(decision, attacked, self._last_s, self._host.is_down)

    def add_power(self, watts: float) -> None:
        """Take a reading of the power sensor."""
        with self._lock:
            self._comparison.add_power(watts)

    def now(self) -> Now:
        """What there is to show."""
        with self._lock:
            now_s = self._clock()
            return Now(
                self.newest,
                now_s - self._last_s,
                self._host.down_s(now_s),
                self._minute.points(),
                self._comparison.rows(),
            )
