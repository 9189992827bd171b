"""JPEG: the markers of one picture, from its start to its end."""

import struct
from typing import NamedTuple

import numpy as np

from device.pictures.bounds import check_size

START, END, SCAN = 0xD8, 0xD9, 0xDA
WITH_SIZE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ALONE = frozenset(range(0xD0, 0xD8)) | {0x01}  # have no length
WITH_PICTURES = frozenset(range(0xE0, 0xF0)) | {0xFE}  # of the camera and of comments: may hold a small picture
ENDS_SCAN = np.ones(256, bool)
"""Which bytes behind 0xFF end the compressed data: not 0, not another 0xFF, and not those of restart markers."""
ENDS_SCAN[[0, 0xFF, *range(0xD0, 0xD8)]] = False
PIECE = 1 << 16


class CutOffError(ValueError):
    """The bytes end before the picture does."""

    def __init__(self) -> None:
        super().__init__("it is cut off")


class DamagedError(ValueError):
    """Something is where nothing of that kind belongs.

    Args:
        words: what it is.
        place: its offset.
    """

    def __init__(self, words: str, place: int) -> None:
        super().__init__(words)
        self.place = place


class Extent(NamedTuple):
    """One picture within a file."""

    width: int
    height: int
    end: int
    """Offset of the first byte behind it."""


def extent(content: bytes, start: int = 0) -> Extent:
    """Follow the markers of the picture that begins at ``start``.

    Raises:
        CutOffError, DamagedError: it is not whole. ValueError: it has too many pixels.
    """
    place, width, height, scans = start + 2, 0, 0, 0
    while True:
        if content[place : place + 1] not in (b"\xff", b""):
            raise DamagedError("other bytes where a marker belongs", place)
        while content[place : place + 2] == b"\xff\xff":  # fill bytes
            place += 1
        if len(content) < place + 2:
            raise CutOffError
        marker = content[place + 1]
        if marker == START:
            raise DamagedError("another picture begins before its end", place)
        place += 2
        if marker == END:
            break
        if marker in ALONE:
            continue
        length = _number(content, place)
        if length < 2 or (marker in WITH_SIZE and (width or length < 8)):
            raise DamagedError("its header is damaged", place)
        begins = content.find(b"\xff\xd8\xff", place, place + length)
        if begins >= 0 and marker not in WITH_PICTURES:
            raise DamagedError("another picture begins before its end", begins)
        if len(content) < place + length:
            raise CutOffError
        if marker in WITH_SIZE:
            height, width = _number(content, place + 3), _number(content, place + 5)
            check_size(width, height)
        place += length
        if marker == SCAN:
            scans += 1
            place = scan_end(content, place)
    if not width or not scans:
        raise DamagedError("no pixels in it", place)
    return Extent(width, height, place)


def scan_end(content: bytes, place: int) -> int:
    """Offset of the first marker from ``place`` on that ends the compressed data, of which a photograph has megabytes.

    Raises:
        CutOffError: there is none.
    """
    values = np.frombuffer(content, np.uint8)
    for start in range(place, len(values) - 1, PIECE):
        piece = values[start : start + PIECE + 1]
        markers = np.flatnonzero(piece[:-1] == 0xFF)
        ends = np.flatnonzero(ENDS_SCAN[piece[markers + 1]])
        if len(ends):
            return start + int(markers[ends[0]])
    raise CutOffError


def _number(content: bytes, place: int) -> int:
    if place + 2 > len(content):
        raise CutOffError
    return int(struct.unpack_from(">H", content, place)[0])
