"""Which payload form is the fastest here: sending more and computing less elsewhere, or the other way round?

It is the question of Neurosurgeon (Kang et al., "Neurosurgeon: Collaborative Intelligence Between the Cloud and Mobile Edge",
ASPLOS 2017), which predicts the time of every place to split a network from regressions and the measured bandwidth. Here the
split is fixed and three forms are left, so each of them is timed on a few frames as it is: to encode on the device, and from
the first byte sent to the answer. What bandwidth these times tell is used for forms that are too large to be tried.
"""

from collections import deque
from typing import Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from device.bundle.reader import Bundle
from device.payload.forms import COEFFICIENTS, FORMS, FP32, UINT8

# Frames of a form before it is judged; the first ones share the link and the host with frames of another form
TRIES, SETTLING = 16, 4
REVIEW_S, REVIEW_FRAMES = 30.0, 500  # after both of which all are tried again
DRIFT, DRIFT_REVIEW_S = 2.0, 10.0  # or after the latter, when the form in use has become so many times slower or faster
GAIN = 0.9  # of the time of the form in use, below which another takes its place
AS_FAST = 1.05  # times the fastest, up to which a smaller form is taken instead, for the sake of others on the link
# A form is not tried that is expected to take more than this, and so many times as long as the best
LONG_TRY_S, WORTH_TRYING = 0.05, 3.0
IN_FLIGHT = 4  # frames at least that share a link: a try may be expected to take that share of the time-out
# The host takes longer for frames that leave late, whatever their form; the quicker ones tell the forms apart
QUANTILE = 0.25


class Cost(NamedTuple):
    """Of one frame, or typical of several."""

    encode_s: float
    """On the device."""
    answer_s: float
    """From the first byte sent to the answer: the way there, the host, the way back."""
    size: float
    """Bytes on the wire."""

    @property
    def total_s(self) -> float:
        return self.encode_s + self.answer_s


def nominal_sizes(bundle: Bundle) -> Dict[str, float]:
    """Bytes of each form before one was sent, rather too many than too few."""
    values, pixels = float(np.prod(bundle.activation_shape)), float(np.prod(bundle.input_shape))
    return {FP32: 4 * values + 700, UINT8: values + 700, COEFFICIENTS: pixels / 2 + 700}


class Choice:
    """Picks a form for each frame from what earlier frames took. Pure: it knows no clock and no socket.

    The smallest form comes first, then the others are tried, but for those whose frames might not be answered in time.
    After that the fastest is used, until a review finds another that is faster by a tenth.

    Args:
        sizes: expected bytes of each form.
        timeout_s: after which a frame is given up.
        connections: frames on their way at the same time.

    ``news``: a sentence for each change, to be shown and taken away.
    """

    def __init__(self, sizes: Dict[str, float], timeout_s: float, connections: int) -> None:
        self.news: List[str] = []
        self._sizes = sizes
        self._longest_s = timeout_s / max(IN_FLIGHT, connections)
        self._costs: Dict[str, Deque[Cost]] = {form: deque(maxlen=TRIES) for form in FORMS}
        self._settling = dict.fromkeys(FORMS, SETTLING)  # frames of each form that do not count yet
        self._picked: Dict[Tuple[str, ...], str] = {}  # possible forms -> the one in use
        self._judged: Dict[Tuple[str, ...], float] = {}  # the same, since the last review -> its seconds then
        self._reviewed_s = 0.0
        self._frames = 0  # since then

    def pick(self, possible: Sequence[str], now_s: float) -> str:
        """The form for a frame.

        Args:
            possible: forms that this frame may have, from the smallest.
        """
        key = tuple(possible)
        if len(key) == 1:
            return key[0]
        self._frames += 1
        if key in self._judged:
            if not self._due(key, now_s):
                return self._picked[key]
            self._forget()
        for form in key:
            if self._typical(form) is None and self._worth_a_try(form, key):
                return form
        return self._decide(key, now_s)

    def add(self, form: str, cost: Cost, counts: bool = True) -> None:
        """What a frame took.

        Args:
            counts: False for the first frame of a connection: TCP was still finding out how much it may send.
        """
        if self._settling[form]:
            self._settling[form] -= 1
        elif counts:
            self._costs[form].append(cost)

    def lost(self) -> None:
        """A frame was not answered: what was measured is not true any more."""
        self._picked.clear()
        self._forget()

    def _forget(self) -> None:
        self._judged.clear()
        for form, costs in self._costs.items():
            self._settling[form] = SETTLING
            costs.clear()

    def _typical(self, form: str) -> Optional[Cost]:
        """The cost of a form; None until it has been tried often enough."""
        costs = self._costs[form]
        if len(costs) < TRIES:
            return None
        return Cost(*np.quantile(np.array(costs), QUANTILE, axis=0).tolist())

    def _due(self, key: Tuple[str, ...], now_s: float) -> bool:
        """Whether the times are old, or that of the form in use has changed."""
        since_s = now_s - self._reviewed_s
        if since_s > REVIEW_S and self._frames > REVIEW_FRAMES:
            return True
        if since_s < DRIFT_REVIEW_S or self._frames % TRIES:
            return False
        cost = self._typical(self._picked[key])
        return cost is not None and not 1 / DRIFT < cost.total_s / self._judged[key] < DRIFT

    def _expected_s(self, form: str) -> float:
        """How long an answer of a form will take at most, told by smaller ones; 0 where there are none."""
        smaller = [
            (cost.size, cost.answer_s) for cost in map(self._typical, FORMS[: FORMS.index(form)]) if cost is not None
        ]
        if not smaller:
            return 0.0
        size, answer_s = smaller[-1]
        if len(smaller) == 1:  # as if all of the time were spent on the bytes
            return answer_s * self._sizes[form] / size
        bytes_s = max(0.0, (answer_s - smaller[0][1]) / (size - smaller[0][0]))
        return answer_s + (self._sizes[form] - size) * bytes_s

    def _worth_a_try(self, form: str, key: Tuple[str, ...]) -> bool:
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
        used = self._picked.get(key)
        if used is None or (best != used and totals[best] < GAIN * totals.get(used, float("inf"))):
            self._picked[key] = used = best
            self.news.append(self._sentence(best, key))
        self._judged[key] = totals[used]
        self._reviewed_s, self._frames = now_s, 0
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
