"""PNG: every chunk up to the end, with its checksum. That the pixels are complete is what libpng itself checks."""

import struct
import zlib
from typing import Tuple

from device.pictures.bounds import check_size

MAGIC = b"\x89PNG\r\n\x1a\n"


def whole_png(content: bytes) -> Tuple[int, int]:
    """Width and height of a PNG picture of which every chunk is there.

    Raises:
        ValueError, struct.error: it is cut off or damaged.
    """
    width, height = struct.unpack_from(">II", content, len(MAGIC) + 8)
    check_size(width, height)
    place, kind, view = len(MAGIC), b"", memoryview(content)
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 8 + length
        if len(content) < end + 4:
            raise ValueError("it is cut off")
        if zlib.crc32(view[place + 4 : end]) != struct.unpack_from(">I", content, end)[0]:
            raise ValueError("a checksum is wrong")
        if (kind == b"IHDR") != (place == len(MAGIC)):
            raise ValueError("its header is damaged")
        place = end + 4
    return width, height
