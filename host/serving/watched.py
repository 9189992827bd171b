"""Files that change while the host runs, and are written by somebody else."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REST_S = 1.0  # since its last change, after which a file is not being written any more


class _Version(NamedTuple):
    """What changes when a file does; ctime_ns does so whatever a program that copies files sets."""

    mtime_ns: int
    ctime_ns: int
    inode: int
    size: int


class Watched:
    """Says when files are worth reading again: once they have changed and rest, which they do after a second, or if two
    looks have found the same (this machine's clock may not be that of the file system). A file that is being written is
    left alone.

    Args:
        files: as they are now is what has been read.
    """

    def __init__(self, files: Sequence[Path | str]) -> None:
        self._files = files
        self._read = self._seen = self._look()

    def have_changed(self) -> bool:
        """Look. What is reported once is not reported again.

        Raises:
            OSError: a file is not there, or may not be looked at.
        """
        found = self._look()
        changed_s = max(max(each.mtime_ns, each.ctime_ns) for each in found) / 1e9
        rests = found == self._seen or time.time() - changed_s >= REST_S
        self._seen = found
        if found == self._read or not rests:
            return False
        self._read = found
        return True

    def _look(self) -> list[_Version]:
        found = [os.stat(file) for file in self._files]
        return [_Version(each.st_mtime_ns, each.st_ctime_ns, each.st_ino, each.st_size) for each in found]
