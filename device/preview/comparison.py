"""Frames clean and attacked, with and without DefQ, beside one another: one row for each condition."""

import collections
from typing import Counter, Deque, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from device.loop.sinks import Decision
from device.preview.last_minute import T3, efcy_of_answers

LATENCIES = 500  # the newest ones of a condition, for its median
LONGEST_GAP_S = 1.0  # between two frames of a source that runs; a longer one is a pause
NONE, WHOLE, GATED = "none", "defq", "gated"


class Condition(NamedTuple):
    """What a frame went through, as it was and not as the switches stood."""

    attacked: bool
    defence: str
    """``none``: not quantised, ``defq``: quantised whatever it looked like, ``gated``: the gate decided."""


class Row(NamedTuple):
    """The figures of one condition since the preview was started. Shares in 0..1; None: not known."""

    condition: Condition
    frames: int
    left_share: float
    t3_er: float
    efcy: Optional[float]
    bytes_a_frame: Optional[float]
    """Of answered and capped frames; those that were not sent count with 0."""
    payloads: List[str]
    """Forms in which frames were sent, the most frequent first."""
    latency_ms: Optional[float]
    accuracy: Optional[float]
    energy_mj: Optional[float]
    """A frame's, of all that the sensor measures: mean power x mean time from one frame to the next."""


class Tally:
    """Counts of one condition."""

    def __init__(self, exits: int) -> None:
        self.histogram = [0] * (exits + 1)  # the last: fallbacks
        self.capped = 0
        self.bytes = 0
        self.known = 0
        self.right = 0
        self.payloads: Counter[str] = collections.Counter()
        self.ms: Deque[float] = collections.deque(maxlen=LATENCIES)
        self.gaps = 0
        self.gaps_s = 0.0
        self.readings = 0
        self.readings_w = 0.0


class Comparison:
    """Counts each frame in the row of its condition. For one thread at a time.

    Nothing is counted while the host is down: what frames cost then says nothing about attack and defence. Of a single
    frame without an answer it is known that it did not leave on the device; it counts in that, and in no mean. Frames that the
    hardened twin answered have other weights and other exits, and count in no row.

    Args:
        relative_costs: of the network's exits.
        split: a frame that leaves at exits 1 to ``split`` left early.
    """

    def __init__(self, relative_costs: Sequence[float], split: int) -> None:
        self._costs = list(relative_costs)
        self._split = split
        self._tallies: Dict[Condition, Tally] = {}
        self._last: Optional[Condition] = None
        self._last_s = 0.0

    def add(self, decision: Decision, attacked: bool, now_s: float, host_down: bool) -> None:
        """Count one decision, made at ``now_s`` seconds."""
        last, last_s = self._last, self._last_s
        condition = self._last = Condition(attacked, defence_of(decision))
        self._last_s = now_s
        if host_down or decision.twin:
            self._last = None
            return
        tally = self._tallies.get(condition)
        if tally is None:
            tally = self._tallies[condition] = Tally(len(self._costs))
        if last == condition and now_s - last_s <= LONGEST_GAP_S:
            tally.gaps += 1
            tally.gaps_s += now_s - last_s
        tally.capped += decision.capped
        if decision.source == "fallback":
            tally.histogram[-1] += 1
            if not decision.capped:
                return
        else:
            tally.histogram[decision.exit - 1] += 1
        tally.bytes += decision.bytes_sent
        tally.ms.append(decision.ms["total"])
        if decision.payload is not None:
            tally.payloads[decision.payload] += 1
        if decision.truth is not None:
            tally.known += 1
            tally.right += decision.label_id == decision.truth

    def add_power(self, watts: float) -> None:
        """Take a reading for the condition that frames are in now."""
        if self._last is not None:
            tally = self._tallies[self._last]
            tally.readings += 1
            tally.readings_w += watts

    def rows(self) -> List[Row]:
        """One for each condition that was seen, clean ones first."""
        return [self._row(condition, self._tallies[condition]) for condition in sorted(self._tallies)]

    def _row(self, condition: Condition, tally: Tally) -> Row:
        frames, answered = sum(tally.histogram), sum(tally.histogram[:-1]) + tally.capped
        energy_mj = None
        if tally.readings and tally.gaps:
            energy_mj = 1e3 * (tally.readings_w / tally.readings) * (tally.gaps_s / tally.gaps)
        return Row(
            condition,
            frames,
            sum(tally.histogram[: self._split]) / frames,
            sum(tally.histogram[:T3]) / frames,
            efcy_of_answers(tally.histogram, self._costs),
            tally.bytes / answered if answered else None,
            [form for form, _ in tally.payloads.most_common()],
            float(np.median(tally.ms)) if tally.ms else None,
            tally.right / tally.known if tally.known else None,
            energy_mj,
        )


def defence_of(decision: Decision) -> str:
    """What stood before the network when this frame came."""
    if decision.attacked is not None:
        return GATED
    return WHOLE if decision.quantised else NONE
