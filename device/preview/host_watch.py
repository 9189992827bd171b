"""Tells from the decisions whether the host answers, and since when it does not."""

from typing import Optional

UNANSWERED_IN_A_ROW = 3  # one late answer, or a moment without a free connection, is no dead host


class HostWatch:
    """Watches the frames that did not leave on the device: those alone need an answer.

    The host counts as down when three of them in a row were not answered, and as up again with its next answer. It does
    not matter why there was no answer: the host may be dead, out of reach, overloaded, or refuse this device.
    """

    def __init__(self) -> None:
        self._unanswered = 0
        self._first_s = 0.0

    def see(self, source: str, now_s: float) -> None:
        """Take the ``source`` of a decision (device/loop/sinks.py) and the seconds of any clock."""
        if source == "host":
            self._unanswered = 0
        elif source == "fallback":
            if not self._unanswered:
                self._first_s = now_s
            self._unanswered += 1

    @property
    def is_down(self) -> bool:
        return self._unanswered >= UNANSWERED_IN_A_ROW

    def down_s(self, now_s: float) -> Optional[float]:
        """Seconds since the first frame that was not answered; None while the host is not down."""
        return now_s - self._first_s if self.is_down else None
