"""WebP: the chunks of its RIFF container."""

import struct
from typing import Tuple

from device.pictures.bounds import check_size

LOSSY_START = b"\x9d\x01\x2a"


def whole_webp(content: bytes) -> Tuple[int, int]:
    """Width and height of a WebP picture of which every chunk is there.

    Raises:
        ValueError, struct.error: it is cut off or damaged.
    """
    end = struct.unpack_from("<I", content, 4)[0] + 8
    if len(content) < end:
        raise ValueError("it is cut off")
    place, size, pixels = 12, None, False
    while place + 8 <= end:
        kind, length = struct.unpack_from("<4sI", content, place)
        body = place + 8
        if body + length > end:
            raise ValueError("it is cut off")
        if kind in (b"VP8 ", b"VP8L", b"VP8X"):
            size = size or _size(content, kind, body)
            check_size(*size)
        pixels = pixels or kind in (b"VP8 ", b"VP8L", b"ANMF")
        place = body + length + length % 2
    if size is None or not pixels:
        raise ValueError("no pixels in it")
    return size


def _size(content: bytes, kind: bytes, body: int) -> Tuple[int, int]:
    if kind == b"VP8X":  # two numbers of 24 bits, one less than the size
        width, height = content[body + 4 : body + 7], content[body + 7 : body + 10]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if kind == b"VP8L":  # 14 bits each behind the signature
        bits = struct.unpack_from("<I", content, body + 1)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if content[body + 3 : body + 6] != LOSSY_START:
        raise ValueError("its header is damaged")
    width, height = struct.unpack_from("<HH", content, body + 6)
    return width & 0x3FFF, height & 0x3FFF
