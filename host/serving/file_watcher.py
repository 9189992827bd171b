"""Notices when files change that somebody else writes while the host runs."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REST_S = 1.0  # a file that has not changed for so many seconds counts as completely written


class _Version(NamedTuple):
    """Properties of a file that change with its content. ``ctime_ns`` changes whatever times a copying program sets."""

    mtime_ns: int
    ctime_ns: int
    inode: int
    size: int


class FileWatcher:
    """Says when files are worth reading again: when they have changed and are completely written.

    A file counts as completely written if its last change is a second ago, or if two looks have found the same file. The
    second rule is for file systems whose clock differs from the clock of this machine.

    Args:
        files: the files. Their state at this moment counts as read.

    Raises:
        OSError: a file is not there, or may not be looked at.
    """

    def __init__(self, files: Sequence[Path | str]) -> None:
        self._files = files
        self._read = self._seen = self._look()

    def have_changed(self) -> bool:
        """Look at the files, and return whether they should be read again. Each change is reported once.

        Raises:
            OSError: a file is not there, or may not be looked at.
        """
        found = self._look()
        changed_s = max(max(each.mtime_ns, each.ctime_ns) for each in found) / 1e9
        is_complete = found == self._seen or time.time() - changed_s >= REST_S
        self._seen = found
        if found == self._read or not is_complete:
            return False
        self._read = found
        return True

    def _look(self) -> list[_Version]:
        found = [os.stat(file) for file in self._files]
        return [_Version(each.st_mtime_ns, each.st_ctime_ns, each.st_ino, each.st_size) for each in found]
