"""The one place where OpenCV decodes pictures."""

import re
from typing import List, Optional, Tuple

import cv2
import numpy as np

from device.errors import DataError
from device.pictures.bounds import MAX_FILE_BYTES
from device.pictures.formats import DAMAGED, NAMES, Format, format_of
from device.pictures.stderr import with_messages
from device.system.files import read_bounded

DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG", "[ERROR:")
# padding, which many USB cameras write; all pixels before the marker are there
PADDING = re.compile(r"Corrupt JPEG data: [1-3] extraneous bytes before marker 0xd[0-9]")


def decode_picture(content: bytes, grey: bool = False) -> np.ndarray:
    """The pixels of a whole picture, turned as its EXIF data say.

    Args:
        content: a file's bytes.
        grey: leave a picture without colours as it is.

    Returns:
        uint8 (height, width, 3) in RGB; with ``grey`` also (height, width).

    Raises:
        ValueError: of no format that is read, too large, cut off, damaged, or nothing that this OpenCV can decode.
    """
    kind, height, width = _whole(content)
    pixels, messages = with_messages(lambda: _decoded(content, kind, cv2.IMREAD_ANYCOLOR if grey else cv2.IMREAD_COLOR))
    found = damage(messages)
    if found:
        raise ValueError("{}: it is damaged ({})".format(kind.name, found))
    return _checked(pixels, kind, height, width)


def decode_unwatched(content: bytes) -> np.ndarray:
    """As ``decode_picture``, for many threads at once: what libraries print on stderr is not looked at. The caller does so for
    all threads together, with ``with_messages`` and ``damage``.
    """
    kind, height, width = _whole(content)
    return _checked(_decoded(content, kind, cv2.IMREAD_COLOR), kind, height, width)


def size_unwatched(content: bytes) -> Tuple[int, int]:
    """Height and width of a whole picture, turned as its EXIF data say, as ``decode_unwatched``. JPEG files are decoded to an
    eighth of their size, which takes a third of the time and finds the same damage.
    """
    kind, height, width = _whole(content)
    if kind.name != "JPEG":
        height, width = _checked(_decoded(content, kind, cv2.IMREAD_COLOR), kind, height, width).shape[:2]
        return height, width
    eighth = -(-height // 8), -(-width // 8)
    small = _checked(_decoded(content, kind, cv2.IMREAD_REDUCED_COLOR_8), kind, *eighth)
    return (height, width) if small.shape[:2] == eighth else (width, height)


def _whole(content: bytes) -> Tuple[Format, int, int]:
    """Format, height and width of a picture that ends where it should."""
    kind = format_of(content)
    if kind is None:
        raise ValueError("no picture in it" if content else "an empty file")
    try:
        width, height = kind.whole(content)
    except DAMAGED as error:
        reason = str(error) if isinstance(error, ValueError) else "it is cut off or damaged"
        raise ValueError("{}: {}".format(kind.name, reason)) from error
    return kind, height, width


def _decoded(content: bytes, kind: Format, flags: int) -> Optional[np.ndarray]:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if pixels is not None and pixels.ndim == 3 else pixels
    except (cv2.error, MemoryError) as error:
        raise ValueError("{}: OpenCV {} failed on it".format(kind.name, cv2.__version__)) from error


def _checked(pixels: Optional[np.ndarray], kind: Format, height: int, width: int) -> np.ndarray:
    if pixels is None or pixels.shape[:2] not in ((height, width), (width, height)):
        raise ValueError("{}: OpenCV {} cannot decode it".format(kind.name, cv2.__version__))
    return pixels


def damage(messages: List[str]) -> str:
    """The first line that tells of a damaged picture, of those that libraries printed; "" for none."""
    found = [line for line in messages if line.startswith(DAMAGE) and not PADDING.match(line)]
    return found[0][:200] if found else ""


def read_picture(path: str) -> np.ndarray:
    """A picture from a file, uint8 (height, width, 3) in RGB.

    Raises:
        DataError: the file cannot be read, or ``decode_picture`` refuses what is in it.
    """
    try:
        return decode_picture(read_bounded(path, MAX_FILE_BYTES))
    except (OSError, ValueError, MemoryError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError("could not read {} as an image ({}); expected a whole {} file; replace or remove it".format(
            path, reason or type(error).__name__, NAMES)) from error  # fmt: skip
