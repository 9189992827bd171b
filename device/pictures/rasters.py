"""BMP and PPM: a header, and then rows of pixels whose number of bytes follows from it."""

import re
import struct
from typing import Tuple

from device.pictures.bounds import check_size

RAW, RLE8, RLE4, MASKS, ALPHA_MASKS = 0, 1, 2, 3, 6  # how a BMP is compressed
GAP = rb"(?:\s|#[^\n]*\n)+"
PPM_HEADER = re.compile(rb"P([1-6])" + GAP + rb"(\d{1,9})" + GAP + rb"(\d{1,9})")
PPM_MAXIMUM = re.compile(GAP + rb"(\d{1,5})\s")


def whole_bmp(content: bytes) -> Tuple[int, int]:
    """Width and height of a BMP picture of which every row is there.

    Raises:
        ValueError, struct.error: it is cut off or damaged.
    """
    start, header = struct.unpack_from("<II", content, 10)
    if header == 12:
        width, height, _, depth = struct.unpack_from("<HHHH", content, 18)
        packing = RAW
    else:
        width, height, _, depth, packing = struct.unpack_from("<iiHHI", content, 18)
    height = abs(height)  # below 0: rows from top to bottom
    check_size(width, height)
    if packing in (RLE8, RLE4):
        whole = content[start:].rstrip(b"\0").endswith(b"\1") and len(content) > start + 2
    elif packing in (RAW, MASKS, ALPHA_MASKS):
        whole = len(content) >= start + height * (-(-width * depth // 32) * 4)
    else:
        raise ValueError("an unknown way of packing, {}".format(packing))
    if not whole:
        raise ValueError("it is cut off")
    return width, height


def whole_ppm(content: bytes) -> Tuple[int, int]:
    """Width and height of a PPM (also PGM or PBM) picture of which every pixel is there.

    Raises:
        ValueError: it is cut off or damaged.
    """
    header = PPM_HEADER.match(content)
    if header is None:
        raise ValueError("its header is damaged")
    kind, width, height = (int(each) for each in header.groups())
    check_size(width, height)
    start, depth = header.end(), 1
    if kind not in (1, 4):  # those have two values and no maximum
        maximum = PPM_MAXIMUM.match(content, start)
        if maximum is None or not 0 < int(maximum.group(1)) < 1 << 16:
            raise ValueError("its header is damaged")
        start, depth = maximum.end(), 2 if int(maximum.group(1)) > 255 else 1
    colours = 3 if kind in (3, 6) else 1
    if kind == 4:
        found, expected = len(content) - start - 1, -(-width // 8) * height
    elif kind > 4:
        found, expected = len(content) - start, width * height * colours * depth
    else:
        values = re.compile(rb"[01]" if kind == 1 else rb"\d+")
        found, expected = sum(1 for _ in values.finditer(content, start)), width * height * colours
    if found < expected:
        raise ValueError("it is cut off")
    return width, height
