"""A frame that goes to the host, and the answer that comes back."""

import threading
from typing import Dict, NamedTuple, Optional

import numpy as np

from device.bundle.reader import Bundle
from device.errors import HostError
from device.link.deadline import Deadline, clock
from device.payload.forms import NO_ALTERNATIVES, OUTPUTS, Alternatives


class HostAnswer(NamedTuple):
    """The tail's answer: class, confidence in [0, 1], 1-based exit."""

    label: int
    confidence: float
    exit: int


def answer_of(tensors: Dict[str, np.ndarray], bundle: Bundle) -> HostAnswer:
    """The answer in a response's tensors.

    Raises:
        HostError: not one label, confidence and exit, or none of this bundle.
    """
    values = [tensors[name].ravel() for name in OUTPUTS if name in tensors and tensors[name].size == 1]
    if len(values) == len(OUTPUTS):
        answer = HostAnswer(int(values[0][0]), float(values[1][0]), int(values[2][0]))
        in_range = 0 <= answer.label < len(bundle.labels) and 0 <= answer.confidence <= 1.0001
        if in_range and bundle.split < answer.exit <= len(bundle.relative_costs):
            return answer
        raise HostError(
            "found {} as its answer; expected a class, a confidence and an exit of this bundle".format(answer)
        )
    raise HostError("found outputs {}; expected one label, confidence and exit".format(sorted(tensors)))


class HostRequest:
    """A frame on its way. ``answer`` is None until ``wait`` returned True, and for good when the host failed.

    Nobody ends the exchange from outside at the deadline: by then its connection may serve the next frame. Every wait of
    the thread that serves it ends at the same deadline.

    Args:
        tries: this frame finds out whether a lost host is back.
    """

    def __init__(
        self,
        activation: np.ndarray,
        threshold: np.ndarray,
        deadline: Deadline,
        others: Alternatives = NO_ALTERNATIVES,
        tries: bool = False,
    ) -> None:
        self.activation = activation
        self.others = others
        self.threshold = threshold
        self.deadline = deadline
        self.tries = tries
        self.answer: Optional[HostAnswer] = None
        self.form: Optional[str] = None  # that it was sent as
        self.bytes_sent = 0
        self.finished_s = 0.0
        self._done = threading.Event()
        self._lock = threading.Lock()

    def sent(self, count: int) -> None:
        self.bytes_sent += count

    def finish(self, answer: Optional[HostAnswer]) -> None:
        """Settle the request; only the first call counts."""
        with self._lock:
            if not self._done.is_set():
                self.answer, self.finished_s = answer, clock()
                self._done.set()

    def done(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: Optional[float] = None) -> bool:
        """Until the answer, the failure, or the deadline; then the request is done in any case.

        Args:
            seconds: to wait at most; then it may not be done.

        Returns:
            whether it is done.
        """
        left_s = self.deadline.left_s()
        if not self._done.wait(left_s if seconds is None else min(seconds, left_s)):
            if seconds is not None and not self.deadline.is_over():
                return False
            self.finish(None)
        return True
