"""Decides which frames may go to a server that does not answer. Knows no socket and no clock.

Source: the circuit breaker of M. Nygard, "Release It!" (2007): closed while the server answers, open after a failure, half open
while one request tries the server again.
"""

from typing import NamedTuple, Optional

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 0.5


class Admission(NamedTuple):
    """Whether a frame may go to the server."""

    admitted: bool
    tries: bool
    """This frame is the one that tries a server which did not answer before."""


class CircuitBreaker:
    """Keeps frames from a server that is lost, but for one frame at a time that tries it again.

    The first try comes after a pause of ``first_pause_s``. Each try that fails doubles the pause, up to ``longest_pause_s``.
    Frames that were on their way when the server was lost fail a moment later; they change no pause.
    """

    def __init__(self, first_pause_s: float = FIRST_PAUSE_S, longest_pause_s: float = LONGEST_PAUSE_S) -> None:
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._lost_since_s: Optional[float] = None  # None while the server answers
        self._try_again_s = 0.0
        self._pause_s = first_pause_s

    def admit(self, now_s: float) -> Admission:
        """Ask for one frame. While a frame tries the server, others are refused and do not wait for it."""
        if self._lost_since_s is None:
            return Admission(True, False)
        if now_s < self._try_again_s:
            return Admission(False, False)
        self._try_again_s = now_s + self._pause_s
        return Admission(True, True)

    def failed(self, now_s: float, tried: bool) -> bool:
        """Report that a frame got no answer.

        Args:
            tried: ``Admission.tries`` of that frame.

        Returns:
            True when the server has answered until now, so that the loss is news.
        """
        is_news = self._lost_since_s is None
        if is_news:
            self._lost_since_s, self._pause_s = now_s, self._first_pause_s
        elif tried:
            self._pause_s = min(2 * self._pause_s, self._longest_pause_s)
        else:
            return False
        self._try_again_s = now_s + self._pause_s
        return is_news

    def answered(self, now_s: float) -> Optional[float]:
        """Report that a frame got an answer.

        Returns:
            For how many seconds the server was lost; None when it was not.
        """
        lost_since_s, self._lost_since_s = self._lost_since_s, None
        return None if lost_since_s is None else now_s - lost_since_s
