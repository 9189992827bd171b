"""Reads arrays of numbers from an .npz that nobody has checked.

Not by numpy.load: that evaluates the header as Python, and takes the memory for whatever size the header claims before it
looks for the bytes.
"""

import re
import struct
from typing import IO, Dict, Iterable, Tuple, Union

import numpy as np

from device.system.zip_file import open_member, open_zip

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 1 << 16
HEADER = re.compile(
    r"\{'descr': '([|<>=][biuf]\d{1,2})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,18}L?,? ?){0,32})\),? ?\}\s*"
)  # what numpy.save writes; the L is Python 2's


def read_arrays(file: Union[str, IO[bytes]], names: Iterable[str], most: int) -> Dict[str, np.ndarray]:
    """Those arrays of ``names`` that an .npz holds; others are not read.

    Args:
        file: its name, or its bytes as a stream.
        most: bytes that all of them may have, unpacked.

    Raises:
        ValueError: no .npz, cut off, damaged, too large, or no array of numbers; says why in a few words.
    """
    arrays = {}
    with open_zip(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        found = {name: members[name + ".npy"] for name in names if name + ".npy" in members}
        size = sum(member.file_size for member in found.values())
        if size > most:
            raise ValueError("{} bytes unpacked; expected at most {}".format(size, most))
        for name, member in found.items():
            with open_member(archive, member, size) as stream:
                arrays[name] = _array(stream, member.file_size, name)
    return arrays


def _array(stream: IO[bytes], size: int, name: str) -> np.ndarray:
    """One .npy of ``size`` bytes; memory is taken once its header fits that."""
    dtype, fortran, shape, offset = _header(stream, name)
    count = 1
    for length in shape:
        count *= length
    if offset + count * dtype.itemsize != size:
        raise ValueError(
            "array {} claims shape {} of type {}, but has {} bytes".format(name, shape, dtype, size - offset)
        )
    flat = np.empty(count, dtype)
    left = memoryview(flat.view(np.uint8))  # type: ignore[arg-type]
    while len(left):
        done = stream.readinto(left)  # type: ignore[attr-defined]
        if not done:
            raise ValueError("array {} is cut off".format(name))
        left = left[done:]
    if stream.read(1):  # the end is where zipfile compares the checksum
        raise ValueError("array {} has more bytes than its header says".format(name))
    return flat.reshape(shape, order="F" if fortran else "C")


def _header(stream: IO[bytes], name: str) -> Tuple[np.dtype, bool, Tuple[int, ...], int]:
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(MAGIC):
        raise ValueError("{} is no array".format(name))
    length_format = "<H" if start[6] == 1 else "<I"
    packed = stream.read(struct.calcsize(length_format))
    length = struct.unpack(length_format, packed)[0]
    if length > MAX_HEADER_BYTES:
        raise ValueError("array {} has a header of {} bytes".format(name, length))
    found = HEADER.match(stream.read(length).decode("latin-1"))
    if found is None:
        raise ValueError("{} is no array of numbers".format(name))
    shape = tuple(int(each.strip("L ")) for each in found.group(3).split(",") if each.strip())
    try:
        dtype = np.dtype(found.group(1))
    except TypeError:
        raise ValueError("{} is no array of numbers".format(name)) from None
    return dtype, found.group(2) == "True", shape, 8 + len(packed) + length
