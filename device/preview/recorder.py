"""Keeps what the page shows: the newest frame, and counts of the last minute. All that the loop pays for the preview."""

import collections
import threading
import time
from typing import Callable, Deque, Dict, List, NamedTuple, Optional

import numpy as np

from device.cameras import Frame
from device.loop.sinks import Decision, Sink

BIN_S = 0.5
BINS = 120  # a minute
WINDOW_BINS = (6, 30)  # a point of a curve looks back over 3 s at least, and 15 s at most
WINDOW_FRAMES = 30  # ... until it has seen this many frames
LATENCIES = 100  # a bin: enough for its median, whatever the frame rate


class Shot(NamedTuple):
    """A frame and what was decided on it. ``number`` counts them from 1."""

    number: int
    decision: Decision
    frame: Frame
    pixels: np.ndarray


class Bin:
    """Counts of half a second."""

    def __init__(self, exits: int) -> None:
        self.frames = 0
        self.left = 0  # on the device
        self.bytes = 0
        self.known = 0  # frames whose label the source knows
        self.right = 0
        self.quantised = 0
        self.histogram = [0] * (exits + 1)  # the last: fallback
        self.ms: List[float] = []
        self.attack = False


class Point(NamedTuple):
    """What a window of time says. Shares in 0..1; None where no frame was seen."""

    seconds: float
    frames: int
    left_share: Optional[float]
    bytes_per_s: float
    latency_ms: Optional[float]
    """Median from the camera's hand-over to the decision."""
    accuracy: Optional[float]
    histogram: List[int]
    """Frames at every exit, and behind them those that no host answered."""
    attack: bool
    quantised: bool


class Recorder(Sink):
    """The preview's sink.

    Args:
        exits: of the network.
        clock: seconds.

    ``attack``: whether an attack is on; the preview sets it.
    """

    def __init__(self, exits: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.exits = exits
        self.attack = False
        self.newest: Optional[Shot] = None
        self._clock = clock
        self._started = int(clock() / BIN_S)
        self._lock = threading.Lock()
        self._bins: Dict[int, Bin] = {}
        self._points: Deque[Point] = collections.deque(maxlen=BINS)
        self._next_point = self._started

    def write(self, decision: Decision, frame: Frame, pixels: np.ndarray) -> None:
        with self._lock:
            number = 1 if self.newest is None else self.newest.number + 1
            self.newest = Shot(number, decision, frame, pixels)
            key = int(self._clock() / BIN_S)
            bin_ = self._bins.get(key)
            if bin_ is None:
                bin_ = self._bins[key] = Bin(self.exits)
                for old in [each for each in self._bins if each < key - BINS]:
                    del self._bins[old]
            bin_.frames += 1
            bin_.left += decision.source == "edge"
            bin_.bytes += decision.bytes_sent
            bin_.quantised += decision.quantised
            bin_.histogram[self.exits if decision.source == "fallback" else decision.exit - 1] += 1
            bin_.attack = bin_.attack or self.attack
            if len(bin_.ms) < LATENCIES:
                bin_.ms.append(decision.ms["total"])
            if decision.truth is not None:
                bin_.known += 1
                bin_.right += decision.label_id == decision.truth

    def points(self) -> List[Point]:
        """One a finished bin of the last minute, oldest first. The last is what holds now."""
        with self._lock:
            now = int(self._clock() / BIN_S)
            self._next_point = max(self._next_point, now - BINS)
            while self._next_point < now:
                self._points.append(self._point(self._next_point))
                self._next_point += 1
            return list(self._points)

    def _point(self, last: int) -> Point:
        """Look back from bin ``last`` until enough was seen."""
        least, most = WINDOW_BINS
        seen: List[Bin] = []
        frames, span = 0, 0
        for key in range(last, max(self._started, last - most + 1) - 1, -1):
            span += 1
            if key in self._bins:
                seen.append(self._bins[key])
                frames += self._bins[key].frames
            if span >= least and frames >= WINDOW_FRAMES:
                break
        known = sum(each.known for each in seen)
        ms = [value for each in seen for value in each.ms]
        newest = self._bins.get(last)
        return Point(
            span * BIN_S,
            frames,
            sum(each.left for each in seen) / frames if frames else None,
            sum(each.bytes for each in seen) / (max(1, span) * BIN_S),
            float(np.median(ms)) if ms else None,
            sum(each.right for each in seen) / known if known else None,
            [sum(counts) for counts in zip(*(each.histogram for each in seen))] if seen else [0] * (self.exits + 1),
            newest is not None and newest.attack,
            newest is not None and 2 * newest.quantised > newest.frames,
        )
