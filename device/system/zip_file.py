"""The one place where zip archives are opened: bounded, and with every failure of zipfile as a ValueError in words."""

import contextlib
import os
import struct
import zipfile
import zlib
from typing import IO, Any, Iterator, Union

from device.system.files import open_regular

STORED_OR_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile unpacks the others without a bound
MAX_RATIO = 1100  # unpacked / packed; deflate cannot do better than 1032
FAILURES = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, OverflowError, IndexError, TypeError,
    AttributeError, struct.error, zlib.error, zipfile.BadZipFile, zipfile.LargeZipFile,
)  # fmt: skip
"""What zipfile raises on damaged, encrypted or unsupported archives (NotImplementedError is a RuntimeError)."""
ENCRYPTED = 0x1


@contextlib.contextmanager
def open_zip(file: Union[str, "os.PathLike[str]", IO[bytes]]) -> Iterator[zipfile.ZipFile]:
    """Open an archive.

    Args:
        file: the name of a regular file, or its bytes as a stream.

    Raises:
        ValueError: it cannot be read, here or within the block; says why in a few words.
    """
    try:
        with contextlib.ExitStack() as opened:
            stream = (
                opened.enter_context(open_regular(os.fspath(file))) if isinstance(file, (str, os.PathLike)) else file
            )
            yield opened.enter_context(zipfile.ZipFile(stream))
    except FAILURES as error:
        raise ValueError(_words(error)) from error


def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> IO[bytes]:
    """Open a file of an archive for reading. It is not read yet.

    Args:
        most: bytes that it may have.

    Raises:
        ValueError: it is larger, encrypted, or compressed in another way than stored or deflated.
    """
    if member.flag_bits & ENCRYPTED:
        raise ValueError("{} is encrypted".format(member.filename[:80]))
    if member.compress_type not in STORED_OR_DEFLATED:
        raise ValueError("{} has compression {}, of which only 0 (stored) and 8 (deflated) are read".format(
            member.filename[:80], member.compress_type))  # fmt: skip
    if member.file_size > most:
        raise ValueError(
            "{} has {} bytes unpacked; expected at most {}".format(member.filename[:80], member.file_size, most)
        )
    if member.file_size > MAX_RATIO * member.compress_size:
        raise ValueError("{} claims {} bytes, packed into {}".format(
            member.filename[:80], member.file_size, member.compress_size))  # fmt: skip
    return archive.open(member)


def _words(error: Any) -> str:
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return str(error)[:200] or type(error).__name__
