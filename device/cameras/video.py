"""Frames through OpenCV's video input: files and USB cameras."""

import os
import sys
import time
from typing import Optional

import cv2
import numpy as np

from device.cameras.base import Camera, Frame, NewestFrame, options, size_option
from device.errors import CameraError, DataError, UsageError


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


class V4L2Camera(Camera):
    """``v4l2:///dev/videoN?size=640x480&rate=30``: a USB camera, newest frame first.

    MJPG is asked for before size and rate (raw video does not fit through USB 2 at these), one buffer instead of four,
    and every value is read back, since drivers may ignore it.

    Raises:
        CameraError: absent, not allowed, in use, or not a camera.
    """

    live = True

    def __init__(self, rest: str, stall_s: float = 5.0) -> None:
        super().__init__()
        path, values = options(rest, {"size": "640x480", "rate": "30"})
        self._name = "/" + path.lstrip("/")
        width, height = size_option(values["size"])
        if not values["rate"].isdigit() or int(values["rate"]) < 1:
            raise UsageError("found rate={}; expected frames a second, as in rate=30".format(values["rate"]))
        _check_device(self._name)
        # a number where there is one: not every OpenCV build takes a path for this back end
        number = self._name[len("/dev/video") :]
        self._capture = cv2.VideoCapture(int(number) if number.isdigit() else self._name, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError("could not open {}; expected a camera that no other program uses; list what is there with: "
                              "v4l2-ctl --list-devices".format(self._name))  # fmt: skip
        mjpg = cv2.VideoWriter.fourcc(*"MJPG")
        wanted = (
            ("format", cv2.CAP_PROP_FOURCC, mjpg),
            ("width", cv2.CAP_PROP_FRAME_WIDTH, width),
            ("height", cv2.CAP_PROP_FRAME_HEIGHT, height),
            ("rate", cv2.CAP_PROP_FPS, int(values["rate"])),
            ("buffers", cv2.CAP_PROP_BUFFERSIZE, 1),
        )
        for _, setting, value in wanted:
            self._capture.set(setting, value)
        got = [(name, value, int(self._capture.get(setting))) for name, setting, value in wanted]
        other = ["{} {} (asked for {})".format(name, found, value) for name, value, found in got if found != value]
        if other:
            print("warning: {} chose {}".format(self._name, ", ".join(other)), file=sys.stderr, flush=True)
        self._newest = NewestFrame(self._grab, self._name, stall_s)

    def describe(self) -> str:
        return "camera {}".format(self._name)

    def _grab(self) -> Optional[np.ndarray]:
        worked, pixels = self._capture.read()
        if not worked or pixels is None or not pixels.size:
            raise CameraError("it gave an empty frame; was it unplugged?")
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if pixels.ndim == 3 else pixels

    def read(self) -> Optional[Frame]:
        frame = self._newest.get()
        self.dropped = self._newest.dropped
        return frame

    def close(self) -> None:
        self._newest.stop()
        self._capture.release()


def _check_device(name: str) -> None:
    """Tell the two usual reasons apart before OpenCV, which tells neither."""
    if not os.path.exists(name):
        raise CameraError(
            "found no {}; expected a camera; plug it in, or list what is there with: ls /dev/video*".format(name)
        )
    if not os.access(name, os.R_OK | os.W_OK):
        raise CameraError("found {} but may not open it; expected access for this user; add it to the group video: "
                          "sudo usermod -aG video $USER, and log in again".format(name))  # fmt: skip
