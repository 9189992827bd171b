"""What every source of frames offers, and a thread that keeps the newest frame of a live one."""

import threading
import time
from typing import Callable, Dict, NamedTuple, Optional, Tuple
from urllib.parse import parse_qsl

import numpy as np

from device.errors import CameraError, UsageError

MAX_PIXELS = 64 << 20


class Frame(NamedTuple):
    """One frame."""

    index: int  # type: ignore[assignment]
    """Number of the frame in its source, from 0; a live camera's dropped frames count."""
    pixels: np.ndarray
    """uint8 (height, width, 3) in RGB, or (height, width) or (height, width, 1) in grey."""
    label: Optional[int]
    """The true class where the source knows it."""
    timestamp_s: float
    """time.monotonic() when the frame was read."""


class Camera:
    """A source of frames; a context manager that closes itself."""

    live = False
    """Frames come by themselves and are lost when nobody takes them."""

    def __init__(self) -> None:
        self.skipped = 0  # frames that could not be read
        self.dropped = 0  # frames of a live source that nobody took in time

    def read(self) -> Optional[Frame]:
        """The next frame (of a live source: the newest); None when the source has ended.

        Raises:
            CameraError: the source stopped giving frames.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """A few words for the console."""
        return type(self).__name__

    def close(self) -> None:
        """Let go of the source."""

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NewestFrame:
    """Reads a live camera in a thread and hands over the newest frame only.

    Args:
        grab: blocks for one frame, uint8 RGB; None when the camera has ended; may raise.
        name: of the camera, for error sentences.
        stall_s: how long ``get`` waits for a frame.
    """

    def __init__(self, grab: Callable[[], Optional[np.ndarray]], name: str, stall_s: float = 5.0) -> None:
        self.dropped = 0
        self._grab = grab
        self._name = name
        self._stall_s = stall_s
        self._newest: Optional[Frame] = None
        self._error: Optional[BaseException] = None
        self._ended = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def get(self) -> Optional[Frame]:
        """The newest frame that was not handed over yet; waits for one. None when the camera has ended.

        Raises:
            CameraError: none came within ``stall_s``, or the camera failed.
        """
        with self._condition:
            came = self._condition.wait_for(lambda: self._newest or self._error or self._ended, self._stall_s)
            frame, self._newest = self._newest, None
            if frame is not None:
                return frame
            if self._error is not None:
                raise CameraError("camera {} failed ({})".format(self._name, self._error)) from self._error
            if not came:
                raise CameraError("found no frame from camera {} for {:.0f} s; expected a steady stream; check its cable "
                                  "and whether another program uses it".format(self._name, self._stall_s))  # fmt: skip
            return None

    def stop(self) -> None:
        """End the thread after the frame that it waits for."""
        self._ended = True
        self._thread.join(self._stall_s)

    def _work(self) -> None:
        index = 0
        try:
            while not self._ended:
                pixels = self._grab()
                if pixels is None:
                    break
                with self._condition:
                    self.dropped += self._newest is not None
                    self._newest = Frame(index, pixels, None, time.monotonic())
                    self._condition.notify()
                index += 1
        except Exception as error:  # handed to the reader, who reports it
            self._error = error
        with self._condition:
            self._ended = True
            self._condition.notify()


def options(rest: str, known: Dict[str, str]) -> Tuple[str, Dict[str, str]]:
    """Split ``PATH?name=value&...`` into the path and the options, over the defaults ``known``.

    Raises:
        UsageError: an option that is not known.
    """
    path, _, query = rest.partition("?")
    found = dict(parse_qsl(query, keep_blank_values=True))
    for name in found:
        if name not in known:
            raise UsageError("found option {} in the source; expected {}".format(name, ", ".join(sorted(known))))
    return path, dict(known, **found)


def size_option(text: str) -> Tuple[int, int]:
    """``640x480`` -> (640, 480).

    Raises:
        UsageError: not two positive numbers.
    """
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and 0 < int(width) * int(height) <= MAX_PIXELS):
        raise UsageError("found size={}; expected WIDTHxHEIGHT, as in size=640x480".format(text))
    return int(width), int(height)
