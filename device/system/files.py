"""Files of any size or kind, read within bounds and written whole or not at all."""

import contextlib
import errno
import os
import secrets
import stat
from typing import BinaryIO, Optional

from device.errors import OutputError
from device.system.console import check_stdout, put

IN_PLACE = (
    errno.EACCES,
    errno.EPERM,
    errno.EBUSY,
    errno.EXDEV,
)  # of a folder that takes no second file, or a bind mount


def user_cache() -> Optional[str]:
    """The folder ``defq`` in the user's cache folder, absolute; None where the user has no home.

    That is where HOME is not set and there is no entry of the user, as in containers. What does not begin with / counts as
    not set (XDG Base Directory Specification).
    """
    home = os.path.join(os.path.expanduser("~"), ".cache")
    for base in (os.environ.get("XDG_CACHE_HOME", ""), home):
        if os.path.isabs(base):
            return os.path.join(base, "defq")
    return None


def exists(path: str) -> bool:
    """Whether there is something of that name. A name that no file can have, one with a zero character or with characters
    that the file system's encoding lacks, is False on every Python, as ``os.path.exists`` has it from 3.8 on."""
    try:
        return os.path.exists(path)
    except ValueError:  # UnicodeEncodeError is one
        return False


def is_file(path: str) -> bool:
    """Whether a regular file has that name; False as in ``exists``."""
    return exists(path) and os.path.isfile(path)


def is_folder(path: str) -> bool:
    """Whether a folder has that name; False as in ``exists``."""
    return exists(path) and os.path.isdir(path)


def open_regular(path: str) -> BinaryIO:
    """A file, open for reading.

    Raises:
        OSError: it cannot be read, or is a folder, a FIFO, a socket or a device, or no file can have its name. ``strerror``
            says which of it.
    """
    try:  # without O_NONBLOCK a FIFO of that name would be waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(errno.EINVAL, "no file can have that name here", path) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return open(descriptor, "rb")


def read_bounded(path: str, most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: as ``open_regular``, or it has more than ``most`` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, "it has {} bytes, of which at most {} are read".format(size, most), path)
        return file.read(size)  # not of the bound: that much memory would be taken at once


def write_file(name: str, content: bytes, option: str, sync: bool = True) -> None:
    """Write a file that is there whole or as it was before; ``-`` is stdout.

    Args:
        name: a link is followed; a pipe or a device is written to as it is.
        content: UTF-8 where it goes to stdout.
        option: that named the file, for the error.
        sync: wait until it is on the disk, so that a power cut cannot leave an empty file under the name.

    Raises:
        OutputError: it cannot be written.
    """
    if name == "-":
        check_stdout("{} -".format(option))
        put(content.decode("utf-8"))
        return
    try:
        _write(os.path.realpath(name), content, sync)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise OutputError("could not write {} ({}); expected a file that can be written, on a disk with {} kB free; choose "
                          "another {}".format(name, reason_of(error), (len(content) >> 10) + 1, option)) from error  # fmt: skip


def reason_of(error: Exception) -> str:
    """Why a file could not be used, for a sentence."""
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "it is a pipe that nobody reads"
    return getattr(error, "strerror", None) or str(error)


def _write(path: str, content: bytes, sync: bool) -> None:
    try:
        before: Optional[os.stat_result] = os.stat(path)
    except FileNotFoundError:
        before = None
    if before is not None and not stat.S_ISREG(before.st_mode):
        _fill(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), content, sync=False)
        return
    draft = os.path.join(os.path.dirname(path), ".{}.{}".format(os.path.basename(path)[:100], secrets.token_hex(8)))
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            if before is not None:
                with contextlib.suppress(OSError):  # the file stays its owner's, where this user may say so
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
        except OSError:
            os.close(descriptor)
            raise
        _fill(descriptor, content, sync)
        os.replace(draft, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(draft)
        if before is None or not isinstance(error, OSError) or error.errno not in IN_PLACE:
            raise
        _fill(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC), content, sync)


def _fill(descriptor: int, content: bytes, sync: bool) -> None:
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(descriptor)
