"""What every source of frames offers, and how its URI's options are read."""

import time
from typing import Dict, NamedTuple, Optional, Sequence, Tuple
from urllib.parse import parse_qsl

import numpy as np

from device.errors import UsageError
from device.pictures.bounds import MAX_PIXELS
from device.system.files import exists
from device.system.options import decimal_number, whole_number
from device.system.stop_flag import StopFlag
from device.system.systemd import wait_alive

FILE_OPTIONS = {"loop": "0", "rate": ""}
"""Options of sources that are files, with their defaults."""


class Frame(NamedTuple):
    """One frame."""

    index: int  # type: ignore[assignment]
    """Number of the frame in its source, from 0; a live camera's dropped frames count."""
    pixels: np.ndarray
    """uint8 (height, width, 3) in RGB, or (height, width) or (height, width, 1) in grey."""
    label: Optional[int]
    """The true class where the source knows it."""
    timestamp_s: float
    """time.monotonic() at the sensor's exposure where the camera tells it, else when the frame was read."""
    twin: Optional[np.ndarray] = None
    """The same frame under attack, same shape and type, where the source has it."""


class Camera:
    """A source of frames; a context manager that closes itself."""

    live = False
    """Frames come by themselves and are lost when nobody takes them."""

    def __init__(self) -> None:
        self.skipped = 0  # frames that could not be read
        self.dropped = 0  # frames of a live source that nobody took in time
        self.reopened = 0  # times that a live source came back after it had failed
        self.stop_flag: Optional[StopFlag] = None  # once it is set, a read that waits for a frame gives None

    def read(self) -> Optional[Frame]:
        """The next frame (of a live source: the newest); None when the source has ended or ``stop_flag`` is set.

        Raises:
            CameraError: the source stopped giving frames and did not come back.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """A few words for the console, without passwords."""
        return type(self).__name__

    def check_classes(self, labels: Sequence[str]) -> None:
        """Learn the names of the bundle's classes, before the first frame, and refuse frames of other classes.

        Raises:
            DataError: the source has a label that is none of them.
        """

    def close(self) -> None:
        """Let go of the source."""

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pacer:
    """Spreads the frames of files over time, as a camera would.

    Args:
        rate: frames a second; None does not wait at all.
    """

    def __init__(self, rate: Optional[float]) -> None:
        self._period_s = 1 / rate if rate else 0.0
        self._due_s = 0.0

    def wait(self, stop: Optional[StopFlag] = None) -> bool:
        """Sleep until the next frame is due. A frame that comes late is not made up for by a burst.

        Returns:
            False when ``stop`` was set before that.
        """
        if not self._period_s:
            return True
        now_s = time.monotonic()
        left_s = self._due_s - now_s
        self._due_s = max(now_s, self._due_s) + self._period_s
        if left_s > 0:
            return not wait_alive(stop.wait if stop else _sleep, left_s)  # a frame that is not due yet is no fault
        return True


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def options(rest: str, known: Dict[str, str]) -> Tuple[str, Dict[str, str]]:
    """Split ``PATH?name=value&...`` into the path and the options, over the defaults ``known``.

    Raises:
        UsageError: an option that is not known.
    """
    path, _, query = rest.partition("?")
    return path, _values(query, known)


def file_options(rest: str, known: Dict[str, str]) -> Tuple[str, Dict[str, str]]:
    """As ``options``, for paths that may hold a question mark: options are what follows the name of a file that exists.

    Raises:
        UsageError: an option that is not known.
    """
    path, mark, query = rest.rpartition("?")
    if not mark or exists(rest) or not exists(path):
        return rest, dict(known)
    return path, _values(query, known)


def _values(query: str, known: Dict[str, str]) -> Dict[str, str]:
    found = dict(parse_qsl(query, keep_blank_values=True))
    for name in found:
        if name not in known:
            raise UsageError("found option {} in the source; expected {}".format(name, ", ".join(sorted(known))))
    return dict(known, **found)


def size_option(text: str, name: str = "size") -> Tuple[int, int]:
    """``640x480`` -> (640, 480).

    Raises:
        UsageError: not two positive numbers.
    """
    try:
        width, height = (whole_number(each, 1, MAX_PIXELS) for each in text.split("x"))
        if width * height > MAX_PIXELS:
            raise ValueError("too many pixels")
    except ValueError:
        raise UsageError("found {0}={1}; expected WIDTHxHEIGHT of at most {2} pixels, as in {0}=640x480".format(
            name, text, MAX_PIXELS)) from None  # fmt: skip
    return width, height


def whole_option(name: str, text: str, least: int, most: int) -> int:
    """A whole number from ``least`` to ``most``.

    Raises:
        UsageError: anything else.
    """
    try:
        return whole_number(text, least, most)
    except ValueError:
        raise UsageError("found {}={}; expected a whole number from {} to {}".format(name, text, least, most)) from None


def rate_option(text: str) -> Optional[float]:
    """Frames a second of files, above 0 and at most 1000; an empty text is None: as fast as they are read.

    Raises:
        UsageError: anything else.
    """
    if not text:
        return None
    try:
        rate = decimal_number(text, 0, 1000)
        if rate > 0:
            return rate
    except ValueError:
        pass
    raise UsageError("found rate={}; expected frames a second, above 0 and at most 1000, as in rate=15".format(text))
