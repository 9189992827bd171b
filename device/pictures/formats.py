"""The formats that are read, and what tells that a picture is whole.

OpenCV gives what is there of a picture that was cut off as if it were all of it, in some of its versions and formats; and
it takes the memory that a header asks for before it looks for the pixels. Both are found out here, before it sees a byte.
"""

import re
import struct
import zlib
from typing import Callable, NamedTuple, Optional, Pattern, Tuple

from device.pictures import jpeg
from device.pictures.gif import whole_gif
from device.pictures.png import MAGIC, whole_png
from device.pictures.rasters import whole_bmp, whole_ppm
from device.pictures.tiff import whole_tiff
from device.pictures.webp import whole_webp


class Format(NamedTuple):
    """A format of picture files."""

    name: str
    suffixes: Tuple[str, ...]
    start: Pattern[bytes]
    """How its files begin: their suffix proves nothing."""
    whole: Callable[[bytes], Tuple[int, int]]
    """The bytes of a file -> width and height; raises what is in ``DAMAGED`` when something is missing."""


DAMAGED = (ValueError, struct.error, zlib.error, IndexError, OverflowError, MemoryError)
FORMATS = (
    Format("PNG", (".png",), re.compile(re.escape(MAGIC)), whole_png),
    Format("JPEG", (".jpg", ".jpeg", ".jfif"), re.compile(rb"\xff\xd8\xff"), lambda content: jpeg.extent(content)[:2]),
    Format("BMP", (".bmp",), re.compile(rb"BM"), whole_bmp),
    Format("PPM", (".ppm",), re.compile(rb"P[1-6]\s"), whole_ppm),
    Format("WebP", (".webp",), re.compile(rb"RIFF....WEBP", re.DOTALL), whole_webp),
    Format("GIF", (".gif",), re.compile(rb"GIF8[79]a"), whole_gif),
    Format("TIFF", (".tif", ".tiff"), re.compile(rb"II[*+]\0|MM\0[*+]"), whole_tiff),
)
SUFFIXES = tuple(suffix for each in FORMATS for suffix in each.suffixes)
NAMES = ", ".join(each.name for each in FORMATS[:-1]) + " or " + FORMATS[-1].name


def format_of(content: bytes) -> Optional[Format]:
    """The format that a file begins as; None where it is none of ours."""
    return next((each for each in FORMATS if each.start.match(content)), None)
