"""The kinds of sources by the first word of their URI, and how one is opened."""

import re
import shlex
from functools import partial
from typing import Callable, Dict, NamedTuple

from device.cameras.arrays import NpzCamera
from device.cameras.base import Camera
from device.cameras.csi import CsiCamera
from device.cameras.folder import FolderCamera
from device.cameras.photos import PhotosCamera
from device.cameras.picamera2 import Picamera2Camera
from device.cameras.rtsp import RtspCamera, masked
from device.cameras.v4l2 import V4L2Camera
from device.cameras.video import VideoCamera
from device.errors import UsageError
from device.system.files import is_file, is_folder


class SourceKind(NamedTuple):
    """One kind of source."""

    example: str
    """A URI of this kind, as help texts and messages show it."""
    open: Callable[[str], Camera]
    """Opens what stands behind the colon of the URI."""


SOURCES: Dict[str, SourceKind] = {
    "picamera2": SourceKind("picamera2://", Picamera2Camera),
    "csi": SourceKind("csi://", CsiCamera),
    "v4l2": SourceKind("v4l2:///dev/video0", V4L2Camera),
    "rtsp": SourceKind("rtsp://...", partial(RtspCamera, "rtsp")),
    "rtsps": SourceKind("rtsps://...", partial(RtspCamera, "rtsps")),
    "dir": SourceKind("dir:PATH", FolderCamera),
    "npz": SourceKind("npz:FILE", NpzCamera),
    "video": SourceKind("video:FILE", VideoCamera),
    "photos": SourceKind("photos:[DIR]", PhotosCamera),
}


def open_camera(uri: str) -> Camera:
    """Open a source by its URI.

    Args:
        uri: as the examples of ``SOURCES``, with the options that each class of a source names.

    Raises:
        UsageError: no such kind of source, or an option that cannot work.
        DataError: files that are absent or cannot be used.
        CameraError: hardware that is absent or does not answer.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme not in SOURCES:
        raise UsageError("found --source {}; expected one of {} and what belongs to it, as in {}".format(
            masked(uri), ", ".join(name + ":" for name in SOURCES), shlex.quote(_meant(uri))))  # fmt: skip
    return SOURCES[scheme].open(rest)


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
