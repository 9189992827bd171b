"""Frames of a video file, through OpenCV."""

import os
import time
from typing import Optional

import cv2
import numpy as np

from device.cameras.base import Camera, Frame
from device.errors import DataError


class VideoCamera(Camera):
    """``video:FILE``: every frame of a video file.

    Raises:
        DataError: absent, or nothing that OpenCV can decode.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        if not os.path.isfile(path):
            raise DataError("found no file {}; expected a video; name another with --source video:FILE".format(path))
        self._capture = cv2.VideoCapture(path)
        self._next = 0
        self._first = self._decode()
        if self._first is None:
            self._capture.release()
            raise DataError("could not decode a frame of {}; expected a video that OpenCV can read, such as MP4 or AVI; "
                            "convert it".format(path))  # fmt: skip

    def describe(self) -> str:
        return "video {}".format(self._path)

    def _decode(self) -> Optional[np.ndarray]:
        worked, pixels = self._capture.read()
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if worked and pixels is not None else None

    def read(self) -> Optional[Frame]:
        pixels, self._first = (self._first, None) if self._next == 0 else (self._decode(), None)
        if pixels is None:
            return None
        self._next += 1
        return Frame(self._next - 1, pixels, None, time.monotonic())

    def close(self) -> None:
        self._capture.release()
