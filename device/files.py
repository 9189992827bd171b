"""Opens files that were named by others: regular ones alone, and no more of them than fits."""

import os
import stat
from typing import BinaryIO


def open_regular(path: str) -> BinaryIO:
    """A file, open for reading.

    Raises:
        OSError: it cannot be read, or is a folder, a FIFO, a socket or a device. ``strerror`` says which of it.
    """
    # without O_NONBLOCK a FIFO of that name would be waited for
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(0, "no regular file", path)
    return file


def read_bounded(path: str, most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: as ``open_regular``, or it has more than ``most`` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(0, "{} bytes, of which at most {} are read".format(size, most), path)
        return file.read(size)  # not of the bound: that much memory would be taken at once
