"""What a live camera must offer to be kept running, and how long it is waited for."""

from typing import NamedTuple, Optional

import numpy as np


class Patience(NamedTuple):
    """How long a live camera is waited for, in seconds."""

    open_s: float = 20.0
    """Opening takes longer: it is stuck."""
    stall_s: float = 5.0
    """No frame for that long: it is stuck."""
    pause_s: float = 0.5
    """Before it is opened again; doubled from attempt to attempt."""
    longest_pause_s: float = 8.0
    """Where doubling ends; a camera that has run for that long starts with ``pause_s`` again."""
    give_up_s: float = 60.0
    """No frame for that long in spite of all attempts: an error."""


PATIENCE = Patience()


class NoFrame(Exception):
    """Raised by ``Source.grab``; says why in a few words, as in "it gave empty frames"."""


class Shot(NamedTuple):
    """What a camera gave."""

    pixels: np.ndarray
    """uint8 (height, width, 3) in RGB, or (height, width) in grey; nobody writes to it later."""
    exposure_s: Optional[float]
    """time.monotonic() at the exposure, where the camera tells it."""


class Source:
    """An open camera. One thread opens, uses and closes it: drivers need not be safe for more."""

    def grab(self) -> Shot:
        """Wait for a frame. Anything that it raises means that the camera must be opened again."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the camera; it may have failed already."""
