"""Chooses the payload form in which frames are answered fastest on this board, over this link, by this host.

Source: Neurosurgeon (Kang et al., "Neurosurgeon: Collaborative Intelligence Between the Cloud and Mobile Edge", ASPLOS 2017)
predicts the time of every place to split a network from regressions and from the bandwidth. Here the split is fixed and few
forms are left, so each form is simply timed on some frames: how long the device takes to encode it, and how long the answer
takes from the first byte sent. A form that is too large to be tried is judged by the bandwidth that the other times imply.
"""

from collections import deque
from typing import Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

# A form is judged after TRIES frames. SETTLING frames before them do not count: they share the link with another form
TRIES, SETTLING = 16, 4
# All forms are tried again when this many seconds and this many frames have passed since the last decision
REVIEW_S, REVIEW_FRAMES = 30.0, 500
# They are tried again after DRIFT_REVIEW_S if the form in use has become DRIFT times slower or faster
DRIFT, DRIFT_REVIEW_S = 2.0, 10.0
GAIN = 0.9  # another form replaces the one in use when it takes less than this share of its time
AS_FAST = 1.05  # a smaller form is preferred up to this many times the fastest one's time, for others on the same link
# A form is not tried when it is expected to take longer than LONG_TRY_S and longer than WORTH_TRYING times the best form
LONG_TRY_S, WORTH_TRYING = 0.05, 3.0
IN_FLIGHT = (
    4  # a frame that tries a form may be expected to take one IN_FLIGHT-th of the time-out: frames share the link
)
# Frames that leave late take the host longer, whatever their form; so forms are compared by their quicker frames
QUANTILE = 0.25


class FrameCost(NamedTuple):
    """What one frame took, or what is typical of several."""

    encode_s: float
    """On the device."""
    answer_s: float
    """From the first byte sent to the answer: the way there, the host, and the way back."""
    size: float
    """Bytes on the wire."""

    @property
    def total_s(self) -> float:
        return self.encode_s + self.answer_s


class FormChoice:
    """Picks a form for each frame from what earlier frames took. It knows no clock and no socket.

    The smallest form is tried first, then the others, except those whose frames might not be answered in time. After that the
    fastest form is used until a review finds another one that is faster by a tenth.

    Frames without DefQ cannot be sent as coefficients. So there is one decision for each set of forms that frames can have.

    Args:
        sizes: each form -> its estimated bytes, from the smallest form to the largest.
        timeout_s: after which a frame is given up.
        connections: the number of frames that can be on their way at the same time.
    """

    def __init__(self, sizes: Dict[str, float], timeout_s: float, connections: int) -> None:
        self._sizes = sizes
        self._order = list(sizes)
        self._longest_s = timeout_s / max(IN_FLIGHT, connections)
        self._costs: Dict[str, Deque[FrameCost]] = {form: deque(maxlen=TRIES) for form in sizes}
        self._settling = dict.fromkeys(sizes, SETTLING)  # form -> frames that do not count yet
        self._in_use: Dict[Tuple[str, ...], str] = {}  # possible forms -> the one in use
        self._decided: Dict[
            Tuple[str, ...], float
        ] = {}  # possible forms -> seconds of the one in use, at the last decision
        self._decided_s = 0.0
        self._frames = 0  # since the last decision
        self._news: List[str] = []

    def pick(self, possible: Sequence[str], now_s: float) -> str:
        """The form for a frame.

        Args:
            possible: the forms that this frame can have, from the smallest.
        """
        key = tuple(possible)
        if len(key) == 1:
            return key[0]
        self._frames += 1
        if key in self._decided:
            if not self._review_is_due(key, now_s):
                return self._in_use[key]
            self._forget_costs()
        for form in key:
            if self._typical(form) is None and self._is_worth_a_try(form, key):
                return form
        return self._decide(key, now_s)

    def add(self, form: str, cost: FrameCost, counts: bool = True) -> None:
        """Note what a frame took.

        Args:
            counts: False for the first frame over a connection, while TCP finds out how much it may send.
        """
        if self._settling[form]:
            self._settling[form] -= 1
        elif counts:
            self._costs[form].append(cost)

    def take_news(self) -> List[str]:
        """A sentence for each change of the form in use since the last call."""
        news, self._news = self._news, []
        return news

    def host_lost(self) -> None:
        """Forget everything that was measured: another host or another link may answer next."""
        self._in_use.clear()
        self._forget_costs()

    def _forget_costs(self) -> None:
        self._decided.clear()
        for form, costs in self._costs.items():
            self._settling[form] = SETTLING
            costs.clear()

    def _typical(self, form: str) -> Optional[FrameCost]:
        """The cost of a form; None until it was tried often enough."""
        costs = self._costs[form]
        if len(costs) < TRIES:
            return None
        return FrameCost(*np.quantile(np.array(costs), QUANTILE, axis=0).tolist())

    def _review_is_due(self, key: Tuple[str, ...], now_s: float) -> bool:
        """Whether the decision is old, or the time of the form in use has changed much."""
        since_s = now_s - self._decided_s
        if since_s > REVIEW_S and self._frames > REVIEW_FRAMES:
            return True
        if since_s < DRIFT_REVIEW_S or self._frames % TRIES:
            return False
        cost = self._typical(self._in_use[key])
        return cost is not None and not 1 / DRIFT < cost.total_s / self._decided[key] < DRIFT

    def _expected_s(self, form: str) -> float:
        """The longest that an answer may take in a form, judged by smaller forms; 0 where none of them was tried."""
        smaller = self._order[: self._order.index(form)]
        known = [(cost.size, cost.answer_s) for cost in map(self._typical, smaller) if cost is not None]
        if not known:
            return 0.0
        size, answer_s = known[-1]
        if len(known) == 1:  # as if all of the time had gone into sending the bytes
            return answer_s * self._sizes[form] / size
        byte_s = max(0.0, (answer_s - known[0][1]) / (size - known[0][0]))
        return answer_s + (self._sizes[form] - size) * byte_s

    def _is_worth_a_try(self, form: str, key: Tuple[str, ...]) -> bool:
        expected_s = self._expected_s(form)
        if expected_s > self._longest_s:
            return False
        known = [cost.total_s for cost in map(self._typical, key) if cost is not None]
        return len(known) < 2 or expected_s < max(LONG_TRY_S, WORTH_TRYING * min(known))

    def _decide(self, key: Tuple[str, ...], now_s: float) -> str:
        costs = {form: self._typical(form) for form in key}
        totals = {form: cost.total_s for form, cost in costs.items() if cost is not None}
        fastest_s = min(totals.values())
        best = next(form for form in key if form in totals and totals[form] <= AS_FAST * fastest_s)
        used = self._in_use.get(key)
        if used is None or (best != used and totals[best] < GAIN * totals.get(used, float("inf"))):
            self._in_use[key] = used = best
            self._news.append(self._sentence(best, key))
        self._decided[key] = totals[used]
        self._decided_s, self._frames = now_s, 0
        return used

    def _sentence(self, best: str, key: Tuple[str, ...]) -> str:
        parts, known = [], []
        for form in sorted(key, key=lambda form: form != best):
            cost = self._typical(form)
            if cost is None:
                parts.append("{} not tried (it may take up to {:.0f} ms)".format(form, self._expected_s(form) * 1e3))
                continue
            known.append(cost)
            parts.append("{} {:.2f} ms a frame of {:.1f} kB ({:.2f} to encode, {:.2f} to the answer)".format(
                form, cost.total_s * 1e3, cost.size / 1e3, cost.encode_s * 1e3, cost.answer_s * 1e3))  # fmt: skip
        known.sort(key=lambda cost: cost.size)
        bits, seconds = 8 * (known[-1].size - known[0].size), known[-1].answer_s - known[0].answer_s
        link = "; some {:.3g} Mbit/s".format(bits / seconds / 1e6) if bits > 0 and seconds > 0 else ""
        return "payload: {}{}".format(", ".join(parts), link)
