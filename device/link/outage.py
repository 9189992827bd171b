"""Whether the host counts as lost, and when a frame may try it again. Knows no socket and no clock."""

from typing import NamedTuple, Optional

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 0.5


class Admission(NamedTuple):
    """Whether a frame may go to the host now, and whether it is the one that tries a lost host."""

    admitted: bool
    tries: bool


class Outage:
    """While the host is lost one frame tries it after a pause of 0.1 s, which doubles up to 0.5 s with each try that fails.

    Frames that were on their way when the host was lost fail too, a moment later: they say nothing new, and change no pause.
    """

    def __init__(self) -> None:
        self._since_s: Optional[float] = None  # None: the host is there
        self._try_again_s = 0.0
        self._pause_s = FIRST_PAUSE_S

    def admit(self, now_s: float) -> Admission:
        """Ask for a frame; while it tries, the others do not wait for it."""
        if self._since_s is None:
            return Admission(True, False)
        if now_s < self._try_again_s:
            return Admission(False, False)
        self._try_again_s = now_s + self._pause_s
        return Admission(True, True)

    def lost(self, now_s: float, tried: bool) -> bool:
        """A frame got no answer. True where that is news.

        Args:
            tried: it was the one that tries, as ``admit`` said.
        """
        news = self._since_s is None
        if news:
            self._since_s, self._pause_s = now_s, FIRST_PAUSE_S
        elif tried:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        else:
            return False
        self._try_again_s = now_s + self._pause_s
        return news

    def found(self, now_s: float) -> Optional[float]:
        """A frame was answered. How long the host was lost, where that is news."""
        since_s, self._since_s = self._since_s, None
        return None if since_s is None else now_s - since_s
