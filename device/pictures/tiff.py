"""TIFF: the first directory, and the strips or tiles that it names."""

import struct
import zlib
from typing import Dict, List, Tuple

from device.pictures.bounds import check_size

WIDTH, HEIGHT, PACKING, STRIPS, STRIP_BYTES, TILES, TILE_BYTES = 256, 257, 259, 273, 279, 324, 325
DEFLATE = (8, 32946)
TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of whole numbers
MAX_ENTRIES = 4096


def whole_tiff(content: bytes) -> Tuple[int, int]:
    """Width and height of the first picture of a TIFF file of which every strip or tile is there.

    Raises:
        ValueError, struct.error, zlib.error: it is cut off or damaged.
    """
    numbers = _directory(content)
    try:
        (width,), (height,) = numbers[WIDTH], numbers[HEIGHT]
        tiled = TILES in numbers
        starts, sizes = numbers[TILES if tiled else STRIPS], numbers[TILE_BYTES if tiled else STRIP_BYTES]
    except (KeyError, ValueError):
        raise ValueError("its directory is damaged") from None
    check_size(width, height)
    if not starts or len(starts) != len(sizes):
        raise ValueError("its directory is damaged")
    for start, size in zip(starts, sizes):
        if not size or start + size > len(content):
            raise ValueError("it is cut off")
        if numbers.get(PACKING, [1])[0] in DEFLATE and not _ends(content[start : start + size]):
            raise ValueError("pixels are missing")
    return width, height


def _directory(content: bytes) -> Dict[int, List[int]]:
    """Tag -> values, of all entries that hold whole numbers."""
    order = "<" if content[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", content, 2)[0] == 43
    count_type, offset_type = ("Q", "Q") if big else ("H", "I")
    place = struct.unpack_from(order + offset_type, content, 8 if big else 4)[0]
    count = struct.unpack_from(order + count_type, content, place)[0]
    if count > MAX_ENTRIES:
        raise ValueError("its directory is damaged")
    place += struct.calcsize(order + count_type)
    entry = struct.Struct(order + "HH" + offset_type + offset_type)
    numbers = {}
    for _ in range(count):
        tag, kind, length, offset = entry.unpack_from(content, place)
        if kind in TYPES:
            values = struct.Struct(order + TYPES[kind])
            inside = length * values.size <= struct.calcsize(order + offset_type)
            start = place + entry.size - struct.calcsize(order + offset_type) if inside else offset
            if start + length * values.size > len(content):
                raise ValueError("it is cut off")
            numbers[tag] = list(struct.unpack_from("{}{}{}".format(order, length, TYPES[kind]), content, start))
        place += entry.size
    return numbers


def _ends(packed: bytes) -> bool:
    """Whether a deflated strip comes to its end, checksum included."""
    unpacker = zlib.decompressobj()
    while packed and not unpacker.eof:
        unpacker.decompress(packed, 1 << 20)
        packed = unpacker.unconsumed_tail
    return unpacker.eof
