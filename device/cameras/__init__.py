"""Where frames come from: one file a kind of source, one URI each."""

import re
import shlex
from functools import partial
from typing import Callable, Dict

from device.cameras.arrays import NpzCamera
from device.cameras.base import Camera, Frame
from device.cameras.csi import CsiCamera
from device.cameras.folder import FolderCamera
from device.cameras.photos import PhotosCamera
from device.cameras.picamera2 import Picamera2Camera
from device.cameras.rtsp import RtspCamera, masked
from device.cameras.v4l2 import V4L2Camera
from device.cameras.video import VideoCamera
from device.errors import UsageError
from device.system.files import is_file, is_folder

SOURCES: Dict[str, Callable[[str], Camera]] = {
    "picamera2": Picamera2Camera,
    "csi": CsiCamera,
    "v4l2": V4L2Camera,
    "rtsp": partial(RtspCamera, "rtsp"),
    "rtsps": partial(RtspCamera, "rtsps"),
    "dir": FolderCamera,
    "npz": NpzCamera,
    "video": VideoCamera,
    "photos": PhotosCamera,
}

__all__ = ["SOURCES", "Camera", "Frame", "open_camera"]


def open_camera(uri: str) -> Camera:
    """Open a source by its URI.

    Args:
        uri: picamera2://?size=WxH&rate=N, csi://?sensor=N, v4l2:///dev/videoN?size=WxH&rate=N, rtsp://user:password@host/path,
            dir:PATH, npz:FILE?loop=1&rate=N, video:FILE, or photos:.

    Raises:
        UsageError: no such kind of source, or an option that cannot work.
        DataError: files that are absent or cannot be used.
        CameraError: hardware that is absent or does not answer.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme not in SOURCES:
        raise UsageError("found --source {}; expected one of {} and what belongs to it, as in {}".format(
            masked(uri), ", ".join(name + ":" for name in SOURCES), shlex.quote(_meant(uri))))  # fmt: skip
    return SOURCES[scheme](rest)


def _meant(uri: str) -> str:
    """The URI that was probably meant by a path, or by the number of a camera."""
    number = uri.rpartition(":")[2]
    if re.fullmatch("[0-9]{1,9}", number):
        return "v4l2:///dev/video{}".format(int(number))
    if uri.startswith("/dev/"):
        return "v4l2://" + uri
    if is_folder(uri):
        return "dir:" + uri
    if is_file(uri):
        return ("npz:" if uri.endswith(".npz") else "video:") + uri
    return "dir:images"
