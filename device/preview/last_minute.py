"""Counts of the last minute, for the curves and for the figures of now."""

import collections
from typing import Callable, Deque, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from device.loop.exits import efcy_of
from device.loop.sinks import Decision

BIN_S = 0.5
BINS = 120  # a minute
WINDOW_BINS = (6, 30)  # a point of a curve looks back over 3 s at least, and 15 s at most
WINDOW_FRAMES = 30  # ... until it has seen this many frames
LATENCIES = 100  # a bin: enough for its median, whatever the frame rate
T3 = 3  # exits that count for T3-ER


class Bin:
    """Counts of half a second."""

    def __init__(self, exits: int) -> None:
        self.frames = 0
        self.bytes = 0
        self.known = 0  # answered or capped frames whose label the source knows
        self.right = 0
        self.quantised = 0
        self.attacked = 0
        self.host_down = False
        self.capped = 0
        self.histogram = [0] * (exits + 1)  # the last: fallbacks
        self.ms: List[float] = []


class Point(NamedTuple):
    """What a window of time says. Shares are in 0..1, and None where there was no frame to tell them from.

    Frames that the host did not answer are in no mean. In the shares of frames that left early they count as frames that
    did not leave, which is known of them. Capped frames did not leave either; they are in the means but for the mean exit.
    """

    seconds: float
    frames: int
    unanswered: int
    """Frames that the host was asked about in vain."""
    capped: int
    """Frames that the ceiling kept from being sent."""
    left_share: Optional[float]
    """Share of the frames that left early."""
    t3_er: Optional[float]
    efcy: Optional[float]
    """As device/loop/summary.py has it: frames without an answer count at the final classifier."""
    bytes_per_s: float
    latency_ms: Optional[float]
    """Median of answered and capped frames, from the camera's hand-over to the decision."""
    accuracy: Optional[float]
    mean_exit: Optional[float]
    """1-based, of answered frames."""
    histogram: List[int]
    """Frames at every exit, and behind them those that the host did not answer or that were capped."""
    attacked: bool
    quantised: bool
    host_down: bool


class LastMinute:
    """Gathers decisions in bins of half a second. For one thread at a time.

    Args:
        relative_costs: of the network's exits.
        split: a frame that leaves at exits 1 to ``split`` left early.
        clock: seconds.
    """

    def __init__(self, relative_costs: Sequence[float], split: int, clock: Callable[[], float]) -> None:
        self._costs = list(relative_costs)
        self._split = split
        self._clock = clock
        self._started = int(clock() / BIN_S)
        self._bins: Dict[int, Bin] = {}
        self._points: Deque[Point] = collections.deque(maxlen=BINS)
        self._next_point = self._started

    def add(self, decision: Decision, attacked: bool, host_down: bool) -> None:
        """Count one decision."""
        key = int(self._clock() / BIN_S)
        bin_ = self._bins.get(key)
        if bin_ is None:
            bin_ = self._bins[key] = Bin(len(self._costs))
            for old in [each for each in self._bins if each < key - BINS]:
                del self._bins[old]
        bin_.frames += 1
        bin_.bytes += decision.bytes_sent
        bin_.quantised += decision.quantised
        bin_.attacked += attacked
        bin_.host_down = host_down
        bin_.capped += decision.capped
        if decision.source == "fallback":
            bin_.histogram[-1] += 1
            if not decision.capped:
                return
        else:
            bin_.histogram[decision.exit - 1] += 1
        if len(bin_.ms) < LATENCIES:
            bin_.ms.append(decision.ms["total"])
        if decision.truth is not None:
            bin_.known += 1
            bin_.right += decision.label_id == decision.truth

    def points(self) -> List[Point]:
        """One for each finished bin of the last minute, oldest first. The last is what holds now."""
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
        histogram = [0] * (len(self._costs) + 1)
        for each in seen:
            histogram = [total + count for total, count in zip(histogram, each.histogram)]
        capped = sum(each.capped for each in seen)
        known = sum(each.known for each in seen)
        ms = [value for each in seen for value in each.ms]
        answered = sum(histogram[:-1])
        newest = self._bins.get(last)
        return Point(
            seconds=span * BIN_S,
            frames=frames,
            unanswered=histogram[-1] - capped,
            capped=capped,
            left_share=sum(histogram[: self._split]) / frames if frames else None,
            t3_er=sum(histogram[:T3]) / frames if frames else None,
            efcy=efcy_of_answers(histogram, self._costs),
            bytes_per_s=sum(each.bytes for each in seen) / (max(1, span) * BIN_S),
            latency_ms=float(np.median(ms)) if ms else None,
            accuracy=sum(each.right for each in seen) / known if known else None,
            mean_exit=sum(place * count for place, count in enumerate(histogram[:-1], 1)) / answered
            if answered
            else None,
            histogram=histogram,
            attacked=newest is not None and 2 * newest.attacked > newest.frames,
            quantised=newest is not None and 2 * newest.quantised > newest.frames,
            host_down=newest is not None and newest.host_down,
        )


def efcy_of_answers(histogram: Sequence[int], relative_costs: Sequence[float]) -> Optional[float]:
    """EFCY of a histogram whose last entry counts frames without an answer, which had the final classifier ahead of them.

    Args:
        histogram: int (exits + 1,).

    Returns:
        In 0..1; None where there was no frame.
    """
    counts = np.array(histogram[:-1])
    counts[-1] += histogram[-1]
    return efcy_of(counts, relative_costs) if counts.sum() else None
