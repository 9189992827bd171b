"""A file of lines that is appended to by one process at a time, and that holds whole lines even after a crash."""

import fcntl
import os
import stat
from typing import List

from device.errors import OutputError
from device.system.files import reason_of


class LineFile:
    """Appends lines to a file, or writes them to a pipe or a device.

    Where the last line of the file was cut off, as by a power cut, a line end is written before the first new line.

    Args:
        name: of the file, which is created where it is absent.
        option: the command-line option that named the file, for error messages.

    Raises:
        OutputError: the file cannot be opened, or another process writes to it.
    """

    def __init__(self, name: str, option: str) -> None:
        self._name = name
        try:
            regular = not os.path.exists(name) or stat.S_ISREG(os.stat(name).st_mode)
            how = os.O_RDWR if regular else os.O_WRONLY | os.O_NONBLOCK  # a pipe without a reader would block
            self._descriptor = os.open(name, how | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except (OSError, ValueError) as error:
            raise OutputError("could not open {} ({}); expected a file that can be written; choose another {}".format(
                name, reason_of(error), option)) from error  # fmt: skip
        os.set_blocking(self._descriptor, True)
        self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._before = b""
        """What must be written before the next line: a line end, or nothing."""
        if self._regular:
            self._lock(option)
            size = os.fstat(self._descriptor).st_size
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                self._before = b"\n"

    def _lock(self, option: str) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise OutputError("found another program that writes to {}; expected one at a time; end it, or choose another "
                              "{}".format(self._name, option)) from error  # fmt: skip
        except OSError:
            pass  # a file system without locks

    def write(self, lines: List[bytes]) -> None:
        """Write lines. Lines that were written completely are removed from ``lines``; a line that was written in part is cut off
        the file again.

        Args:
            lines: with their line ends.

        Raises:
            OSError: the lines that are still in ``lines`` could not be written.
        """
        before = self._before
        content = before + b"".join(lines)
        started = os.fstat(self._descriptor).st_size
        done = 0
        try:
            while done < len(content):
                done += os.write(self._descriptor, content[done:])
        finally:
            kept = content.rfind(b"\n", 0, done) + 1  # bytes of whole lines
            if done > kept and not self._cut(started + done, started + kept):
                self._before = b"\n"
            elif kept:
                self._before = b""
            del lines[: content.count(b"\n", len(before), kept)]

    def _cut(self, found: int, wanted: int) -> bool:
        """Cut the file from ``found`` bytes to ``wanted`` bytes; False where that is not possible."""
        try:
            if (
                not self._regular or os.fstat(self._descriptor).st_size != found
            ):  # another program has written to the file meanwhile
                return False
            os.ftruncate(self._descriptor, wanted)
        except OSError:
            return False
        return True

    def is_current(self) -> bool:
        """Whether the file still has its name; False after it was renamed or removed."""
        try:
            return os.path.samestat(os.stat(self._name), os.fstat(self._descriptor))
        except OSError:
            return False

    def close(self) -> None:
        """Close the file and release its lock."""
        os.close(self._descriptor)
