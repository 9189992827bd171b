"""Where frames come from: one file a kind of source, one URI each."""

from typing import Callable, Dict

from device.cameras.base import Camera, Frame
from device.cameras.images import FolderCamera, NpzCamera
from device.cameras.photos import PhotosCamera
from device.cameras.video import V4L2Camera, VideoCamera
from device.errors import UsageError

SOURCES: Dict[str, Callable[[str], Camera]] = {
    "dir": FolderCamera,
    "npz": NpzCamera,
    "video": VideoCamera,
    "photos": PhotosCamera,
    "v4l2": V4L2Camera,
}

__all__ = ["SOURCES", "Camera", "Frame", "open_camera"]


def open_camera(uri: str) -> Camera:
    """Open a source by its URI.

    Args:
        uri: dir:PATH, npz:FILE, video:FILE, photos:, or v4l2:///dev/videoN?size=WxH&rate=N.

    Raises:
        UsageError: no such kind of source.
        DataError: files that are absent or cannot be used.
        CameraError: hardware that is absent or does not answer.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme not in SOURCES:
        raise UsageError("found --source {}; expected one of {} followed by a path, as in dir:images".format(
            uri, ", ".join(name + ":" for name in SOURCES)))  # fmt: skip
    return SOURCES[scheme](rest)
