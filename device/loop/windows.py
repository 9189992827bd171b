"""The largest number of frames sent in any so many frames in a row."""

from typing import List, Sequence

LENGTHS = (100, 1000)
"""Of the windows that summary and preview show, in frames."""


class Windows:
    """Slides windows over the frames of a run and keeps the most that each has held.

    Args:
        lengths: of the windows in frames, ascending.

    Example:
        >>> windows = Windows((2, 3))
        >>> for sent in (True, False, True, True):
        ...     windows.add(sent)
        >>> windows.most
        [2, 2]
    """

    def __init__(self, lengths: Sequence[int] = LENGTHS) -> None:
        self.lengths = tuple(lengths)
        self.most = [0] * len(self.lengths)
        """Of the frames sent, one number for each length. A run shorter than a window counts as a whole."""
        self._held: List[int] = [0] * len(self.lengths)
        self._ring = bytearray(self.lengths[-1])
        self._next = 0

    def add(self, sent: bool) -> None:
        """Take the next frame."""
        ring, place = self._ring, self._next
        size = len(ring)
        for number, length in enumerate(self.lengths):
            self._held[number] += sent - ring[place - length]  # the one that the window leaves behind
            if self._held[number] > self.most[number]:
                self.most[number] = self._held[number]
        ring[place] = sent
        self._next = (place + 1) % size
