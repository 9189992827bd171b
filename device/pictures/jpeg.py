"""JPEG: the markers of one picture, from its start to its end."""

import re
import struct
from typing import NamedTuple

from device.pictures.bounds import check_size

START, END, SCAN = 0xD8, 0xD9, 0xDA
WITH_SIZE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ALONE = frozenset(range(0xD0, 0xD8)) | {0x01}  # have no length
# in compressed data 0xFF is followed by 0 or is a restart marker; anything else ends the scan
SCAN_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)


class Extent(NamedTuple):
    """One picture within a file."""

    width: int
    height: int
    end: int
    """Offset of the first byte behind it."""


def extent(content: bytes, start: int = 0) -> Extent:
    """Follow the markers of the picture that begins at ``start``.

    Raises:
        ValueError: it is cut off, or is none.
    """
    place, width, height, scans = start + 2, 0, 0, 0
    while True:
        if content[place : place + 1] not in (b"\xff", b""):
            raise ValueError("other bytes where a marker belongs")
        while content[place : place + 2] == b"\xff\xff":  # fill bytes
            place += 1
        marker = _byte(content, place + 1)
        place += 2
        if marker == END:
            break
        if marker in ALONE:
            continue
        length = _number(content, place)
        if length < 2 or len(content) < place + length:
            raise ValueError("it is cut off")
        if marker in WITH_SIZE:
            if width:
                raise ValueError("two sizes in one picture")
            height, width = _number(content, place + 3), _number(content, place + 5)
            check_size(width, height)
        place += length
        if marker == SCAN:
            scans += 1
            end = SCAN_END.search(content, place)
            if end is None:
                raise ValueError("it is cut off")
            place = end.end() - 2
    if not width or not scans:
        raise ValueError("no pixels in it")
    return Extent(width, height, place)


def _byte(content: bytes, place: int) -> int:
    if place >= len(content):
        raise ValueError("it is cut off")
    return content[place]


def _number(content: bytes, place: int) -> int:
    if place + 2 > len(content):
        raise ValueError("it is cut off")
    return int(struct.unpack_from(">H", content, place)[0])
