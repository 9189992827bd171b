"""The image files of a folder, as the sources dir: and photos: read it."""

import os
import stat
from typing import List, Optional, Sequence

from device.errors import DataError
from device.pictures.formats import SUFFIXES
from device.system.console import warn
from device.system.files import is_folder


def image_files(folder: str, source: str) -> List[str]:
    """The image files of a folder and its sub-folders, by name. What else lies there is counted and told once.

    Args:
        source: how the command line names such a source, as in dir:PATH.

    Raises:
        DataError: no folder, or no image in it.
    """
    if not is_folder(folder):
        raise DataError(
            "found no folder {}; expected images in it; name another with --source {}".format(folder, source)
        )
    listing = _Listing(folder)
    if not listing.images:
        raise DataError("found no image in {}{}; expected files whose names end with {}; name another folder with "
                        "--source {}".format(folder, listing.ignored(", but "), ", ".join(SUFFIXES), source))  # fmt: skip
    if listing.ignored():
        warn(
            "found in {}, beside {} images, {}; they are ignored".format(folder, len(listing.images), listing.ignored())
        )
    return listing.images


def class_of(file: str, folder: str, labels: Sequence[str]) -> Optional[int]:
    """The class of a file: the number of the outermost of its folders within ``folder`` that has the name of one of
    ``labels``; None where none has."""
    for part in os.path.relpath(file, folder).split(os.sep)[:-1]:
        if part in labels:
            return labels.index(part)
    return None


class _Listing:
    """The files below a folder, sorted by name, and how many of each other kind there are."""

    def __init__(self, path: str) -> None:
        self.images: List[str] = []
        self._other_files = self._linked_folders = self._unreadable = 0
        for folder, folders, names in os.walk(path, onerror=self._count_unreadable):
            folders.sort()
            self._linked_folders += sum(os.path.islink(os.path.join(folder, name)) for name in folders)
            for name in sorted(names):
                file = os.path.join(folder, name)
                if name.lower().endswith(SUFFIXES) and _may_be_read(file):
                    self.images.append(file)
                else:
                    self._other_files += 1

    def _count_unreadable(self, _error: OSError) -> None:
        self._unreadable += 1

    def ignored(self, before: str = "") -> str:
        """What is not read, in words; empty where there is nothing."""
        kinds = (
            ("{} other files", self._other_files),
            ("{} links to folders", self._linked_folders),
            ("{} folders that this user may not read", self._unreadable),
        )
        found = ", ".join(words.format(count) for words, count in kinds if count)
        return before + found if found else ""


def _may_be_read(file: str) -> bool:
    """Whether it is no FIFO, socket or device. What is gone or may not be read is found when its turn comes."""
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except OSError:
        return True
