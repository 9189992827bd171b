"""One frame on its way to the host, and the answer that comes back."""

import threading
from typing import Callable, Dict, NamedTuple, Optional

import numpy as np

from device.bundle.reader import Bundle
from device.errors import CappedError, HostError
from device.link.connection import Payer
from device.link.deadline import Deadline, clock
from device.payload.base import OUTPUTS, Sendable


class HostAnswer(NamedTuple):
    """What the host says of a frame."""

    label: int
    """Index of the class."""
    confidence: float
    """In [0, 1]."""
    exit: int
    """1-based exit at which the frame left."""


def answer_of(tensors: Dict[str, np.ndarray], bundle: Bundle) -> HostAnswer:
    """The answer in a response's tensors.

    Raises:
        HostError: there is not one label, confidence and exit, or they are out of the bundle's range.
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


class HostRequest(Payer):
    """A frame on its way. The loop waits for it, and a thread of the HostClient settles it.

    Once it is done, ``answer`` is the host's answer, or None for good when the host gave none before the deadline.

    At its deadline the loop gives a frame up without touching the connection, which may serve the next frame by then. The
    thread behind the connection notices the same deadline by itself.

    Args:
        frame: what may be sent.
        threshold: float32 (1, 1), the confidence from which the frame leaves at an exit of the host.
        deadline: when it is given up.
        tries_lost_host: this frame finds out whether a lost host answers again.
        may_pay: asked with the number of bytes before they are sent, whether they may be; None where they always may.

    Attributes:
        taken: whether a connection took the frame. The others are refused at once, and nothing of them is sent.
        capped: whether the ceiling in bytes kept the frame from being sent.
        form: the payload form in which it was sent; None before.
        bytes_sent: on the wire, HTTP head included.
        finished_s: when it was settled, on the clock of device/link/deadline.py.
    """

    def __init__(
        self,
        frame: Sendable,
        threshold: np.ndarray,
        deadline: Deadline,
        tries_lost_host: bool = False,
        may_pay: Optional[Callable[[int], bool]] = None,
    ) -> None:
        self.frame = frame
        self.threshold = threshold
        self.deadline = deadline
        self.tries_lost_host = tries_lost_host
        self.taken = False
        self.capped = False
        self.answer: Optional[HostAnswer] = None
        self.form: Optional[str] = None
        self.bytes_sent = 0
        self.finished_s = 0.0
        self._may_pay = may_pay
        self._done = threading.Event()
        self._lock = threading.Lock()

    def pay(self, count: int) -> None:
        if self._may_pay is not None and not self._may_pay(count):
            self.capped = True
            raise CappedError(
                "found a request of {} bytes for which nothing is left; expected to send it later".format(count)
            )

    def sent(self, count: int) -> None:
        self.bytes_sent += count

    def finish(self, answer: Optional[HostAnswer]) -> None:
        """Settle the request. Only the first call counts."""
        with self._lock:
            if not self._done.is_set():
                self.answer, self.finished_s = answer, clock()
                self._done.set()

    def done(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: Optional[float] = None) -> bool:
        """Wait until the request is done, which it is at its deadline at the latest.

        Args:
            seconds: the longest to wait; None to wait until the deadline.

        Returns:
            Whether the request is done.
        """
        left_s = self.deadline.left_s()
        if not self._done.wait(left_s if seconds is None else min(seconds, left_s)):
            if seconds is not None and not self.deadline.is_over():
                return False
            self.finish(None)
        return True
