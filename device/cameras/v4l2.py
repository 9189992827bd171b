"""USB cameras through Video4Linux."""

import os
import re
import sys

import cv2

from device.cameras.base import options, size_option, whole_option
from device.cameras.capture import CaptureSource, open_capture
from device.cameras.live import LiveCamera
from device.cameras.live_source import PATIENCE, Patience
from device.errors import CameraError
from device.system.files import exists


class V4L2Camera(LiveCamera):
    """``v4l2:///dev/videoN?size=640x480&rate=30``: a USB camera, newest frame first.

    MJPG is asked for before size and rate (raw video does not fit through USB 2 at these), one buffer instead of four,
    and every value is read back, since drivers may ignore it. A name below /dev/v4l/by-id stays right when the camera is
    plugged in again under another number.

    Raises:
        UsageError: an option that cannot work.
        CameraError: absent, not allowed, in use, or not a camera.
    """

    def __init__(self, rest: str, patience: Patience = PATIENCE) -> None:
        path, values = options(rest, {"size": "640x480", "rate": "30"})
        self._device = "/" + path.lstrip("/")
        self._size = size_option(values["size"])
        self._rate = whole_option("rate", values["rate"], 1, 1000)
        self._told = ""
        super().__init__("camera " + self._device, patience)

    def open_source(self) -> CaptureSource:
        _check_device(self._device)
        # OpenCV reads this once, before the first frame: a camera that hangs shall be noticed before the patience ends
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "4")
        # a number where there is one: not every OpenCV build takes a path for this back end
        node = os.path.realpath(self._device)
        number = node[len("/dev/video") :] if node.startswith("/dev/video") else ""
        capture = open_capture(int(number) if re.fullmatch("[0-9]{1,9}", number) else node, cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise CameraError("could not open {}; expected a camera that no other program uses; list what is there with: "
                              "v4l2-ctl --list-devices".format(self._device))  # fmt: skip
        self._configure(capture)
        return CaptureSource(capture, stamped=True, attempts=5)

    def _configure(self, capture: cv2.VideoCapture) -> None:
        """Ask for format, size, rate and one buffer, and name what the driver chose instead."""
        wanted = (
            ("format", cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
            ("width", cv2.CAP_PROP_FRAME_WIDTH, self._size[0]),
            ("height", cv2.CAP_PROP_FRAME_HEIGHT, self._size[1]),
            ("rate", cv2.CAP_PROP_FPS, self._rate),
            ("buffers", cv2.CAP_PROP_BUFFERSIZE, 1),
        )
        for _, setting, value in wanted:
            capture.set(setting, value)
        got = [(name, value, int(capture.get(setting))) for name, setting, value in wanted]
        other = ["{} {} (asked for {})".format(name, found, value) for name, value, found in got if found != value]
        told = "warning: {} chose {}".format(self._device, ", ".join(other))
        if other and told != self._told:  # once, not at every reopening
            print(told, file=sys.stderr, flush=True)
            self._told = told


def _check_device(name: str) -> None:
    """Tell the two usual reasons apart before OpenCV, which tells neither."""
    if not exists(name):
        raise CameraError(
            "found no {}; expected a camera; plug it in, or list what is there with: ls /dev/video*".format(name)
        )
    if not os.access(name, os.R_OK | os.W_OK):
        raise CameraError("found {} but may not open it; expected access for this user; add it to the group video: "
                          "sudo usermod -aG video $USER, and log in again".format(name))  # fmt: skip
