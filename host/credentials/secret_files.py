"""Files of keys and tokens: they have mode 0600 from their first byte on, and are written completely or not at all."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from device.errors import InputError, OutputError, UsageError

try:
    import fcntl
except ImportError:  # Windows has no such lock, and file modes mean nothing there
    fcntl = None  # type: ignore[assignment]


def make_folder(folder: Path) -> None:
    """Make a folder of mode 0700 unless it exists.

    Raises:
        OutputError: it cannot be made, or other users could replace the files in it.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.stat()
    except OSError as error:
        raise unwritable(folder, error) from error
    if not stat.S_ISDIR(status.st_mode):
        raise OutputError(f"found a file at {folder}; expected a folder, or none yet; choose another --out")
    if os.name == "posix" and status.st_mode & 0o022:
        raise OutputError(f"found that other users may write into {folder}; expected its owner alone; run: chmod 700 {folder}")  # fmt: skip


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which only one process can hold.

    Raises:
        UsageError: another process holds it.
    """
    if fcntl is None:
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise unwritable(folder, error) from error
        raise UsageError(f"found another defq keys at work in {folder}; expected none; run this again once it is done") from error  # fmt: skip
    try:
        yield
    finally:
        os.close(descriptor)


def read(file: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"could not read {file} ({error.strerror}); expected a file that this user may read; run this as the user who made it") from error  # fmt: skip


def write(file: Path, content: bytes, secret: bool = False, replace: bool = False) -> None:
    """Write a file, completely or not at all.

    Args:
        file: path of the file.
        content: its bytes.
        secret: whether it gets mode 0600, and not 0644.
        replace: whether a file that exists is replaced; the new one gets its owner and its mode.

    Raises:
        OutputError: the file exists and is not to be replaced, it cannot be written, or its file system has no modes.
    """
    try:
        before = os.lstat(file)
    except OSError:
        before = None
    if before and not (replace and stat.S_ISREG(before.st_mode)):
        raise OutputError(f"found {file} already; expected none; choose another --out, or move it away")
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    mode = 0o600 if secret else 0o644
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        try:
            with os.fdopen(descriptor, "wb") as out:
                given = os.fstat(out.fileno())
                if secret and os.name == "posix" and given.st_mode & 0o077:
                    raise OutputError(f"found that the file system of {file.parent} keeps nothing from other users; expected one with "
                                      "modes, as ext4; choose another --out")  # fmt: skip
                if before and os.name == "posix":
                    # A host that runs as another user must be able to read the new file as well.
                    if (given.st_uid, given.st_gid) != (before.st_uid, before.st_gid):
                        os.fchown(out.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(out.fileno(), stat.S_IMODE(before.st_mode) & (0o640 if secret else 0o644))
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            os.replace(draft, file)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(file, error) from error


def unwritable(file: Path, error: OSError) -> OutputError:
    """The error to raise if the system could not write ``file``."""
    return OutputError(f"could not write {file} ({error.strerror}); expected a folder that this user may write, with space left; choose another --out")  # fmt: skip
