"""The one place that opens cv2.VideoCapture, and frames of a live camera through it: what v4l2, csi and rtsp share."""

import contextlib
import os
import time
from typing import Iterator, Sequence, Union

import cv2

from device.cameras.clock import exposure_s
from device.cameras.live_source import NoFrame, Shot, Source

FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


def open_capture(name: Union[int, str], api: int, limits: Sequence[int] = ()) -> cv2.VideoCapture:
    """An open capture, or one that is not open where OpenCV could not.

    Args:
        name: number of a camera, a pipeline, a URL or a file.
        api: one of cv2.CAP_*.
        limits: properties and their values, for OpenCV 4.5.2 and newer.
    """
    try:
        if isinstance(name, str):
            name.encode("utf-8")  # OpenCV's native code dies of a name that cannot be encoded
        if not limits:
            return cv2.VideoCapture(name, api)
        capture = cv2.VideoCapture()
        capture.open(name, api, list(limits))
        return capture
    except (cv2.error, UnicodeEncodeError):
        return cv2.VideoCapture()


@contextlib.contextmanager
def ffmpeg_options(text: str) -> Iterator[None]:
    """Within the block OpenCV opens files and streams with these options of FFmpeg, unless the user has set others."""
    mine = FFMPEG_OPTIONS not in os.environ
    if mine:
        os.environ[FFMPEG_OPTIONS] = text
    try:
        yield
    finally:
        if mine:
            os.environ.pop(FFMPEG_OPTIONS, None)  # it holds for everything that OpenCV opens


class CaptureSource(Source):
    """An open cv2.VideoCapture.

    Args:
        capture: open; it is released by ``close``.
        stamped: CAP_PROP_POS_MSEC is the sensor's clock, as in OpenCV's V4L2 back end (cap_v4l.cpp: the buffer's time
            stamp); in the others it is a position in the stream.
        attempts: empty frames in a row that mean failure. USB cameras send a broken JPEG now and then.
    """

    def __init__(self, capture: cv2.VideoCapture, stamped: bool = False, attempts: int = 1) -> None:
        self._capture = capture
        self._stamped = stamped
        self._attempts = attempts

    def grab(self) -> Shot:
        for _ in range(self._attempts):
            worked, pixels = self._capture.read()
            if worked and pixels is not None and pixels.size:
                break
            time.sleep(0.01)
        else:
            raise NoFrame("it gave empty frames, as when it is unplugged")
        stamp_s = exposure_s(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3) if self._stamped else None
        return Shot(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if pixels.ndim == 3 else pixels, stamp_s)

    def close(self) -> None:
        self._capture.release()
