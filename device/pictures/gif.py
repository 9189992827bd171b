"""GIF: the blocks up to the end of the first picture."""

import struct
from typing import Tuple

from device.pictures.bounds import check_size

EXTENSION, PICTURE = 0x21, 0x2C


def whole_gif(content: bytes) -> Tuple[int, int]:
    """Width and height of a GIF whose first picture is complete.

    Raises:
        ValueError, struct.error: it is cut off or damaged.
    """
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    check_size(width, height)
    place = 13 + _colours(flags)
    while _byte(content, place) == EXTENSION:
        place = _behind_blocks(content, place + 2)
    if _byte(content, place) != PICTURE:
        raise ValueError("no picture in it")
    left, top, columns, rows, flags = struct.unpack_from("<HHHHB", content, place + 1)
    if not columns or not rows or left + columns > width or top + rows > height:
        raise ValueError("its header is damaged")
    _behind_blocks(content, place + 10 + _colours(flags) + 1)
    return width, height


def _colours(flags: int) -> int:
    """Bytes of a table of colours."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _behind_blocks(content: bytes, place: int) -> int:
    """Follow blocks that each begin with their length, up to an empty one."""
    length = _byte(content, place)
    while length:
        place += 1 + length
        length = _byte(content, place)
    return place + 1


def _byte(content: bytes, place: int) -> int:
    if place >= len(content):
        raise ValueError("it is cut off")
    return content[place]
