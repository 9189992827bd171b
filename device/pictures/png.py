"""PNG: every chunk, its checksum, and as many pixels as the header says."""

import struct
import zlib
from typing import List, Tuple

from device.pictures.bounds import check_size

MAGIC = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
# the passes of an interlaced picture: its first column and row, and the steps from one to the next
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
PIECE = 1 << 20


def whole_png(content: bytes) -> Tuple[int, int]:
    """Width and height of a PNG picture of which every byte is there.

    Raises:
        ValueError, struct.error, zlib.error: it is cut off or damaged.
    """
    width, height, depth, colours, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, len(MAGIC) + 8)
    check_size(width, height)
    if colours not in SAMPLES or depth not in (1, 2, 4, 8, 16) or interlaced > 1:
        raise ValueError("its header is damaged")
    passes = PASSES if interlaced else ((0, 0, 1, 1),)
    expected = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            expected += rows * (1 + -(-columns * depth * SAMPLES[colours] // 8))  # a byte of filter before each row
    if _unpacked_bytes(_pixel_chunks(content), expected) < expected:
        raise ValueError("pixels are missing")
    return width, height


def _pixel_chunks(content: bytes) -> List[bytes]:
    place, chunks, kind = len(MAGIC), [], b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 8 + length
        if len(content) < end + 4:
            raise ValueError("it is cut off")
        if zlib.crc32(content[place + 4 : end]) != struct.unpack_from(">I", content, end)[0]:
            raise ValueError("a checksum is wrong")
        if (kind == b"IHDR") != (place == len(MAGIC)):
            raise ValueError("its header is damaged")
        if kind == b"IDAT":
            chunks.append(content[place + 8 : end])
        place = end + 4
    return chunks


def _unpacked_bytes(chunks: List[bytes], most: int) -> int:
    """How many bytes the chunks unpack to; counting ends at ``most``."""
    unpacker, count = zlib.decompressobj(), 0
    for chunk in chunks:
        while chunk and count < most:
            count += len(unpacker.decompress(chunk, PIECE))
            chunk = unpacker.unconsumed_tail
    return count + (len(unpacker.flush()) if count < most else 0)
