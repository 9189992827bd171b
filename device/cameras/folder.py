"""Frames from a folder of images."""

import os
import stat
import time
from typing import List, Optional

from device.cameras.base import FILE_OPTIONS, Camera, Frame, Pacer, file_options, rate_option, whole_option
from device.errors import DataError
from device.pictures.formats import NAMES, SUFFIXES
from device.pictures.read import read_picture
from device.system.console import warn
from device.system.files import is_folder
from device.system.printable import printable


class FolderCamera(Camera):
    """``dir:PATH?loop=0&rate=15``: the images of a folder and its sub-folders, by name.

    An image that cannot be read, or of which a part is missing, is named and skipped. Files with other suffixes, links to
    folders and folders that may not be read are counted and told once.

    Raises:
        UsageError: an option that cannot work.
        DataError: no folder, or no image in it.
    """

    def __init__(self, rest: str) -> None:
        super().__init__()
        path, values = file_options(rest, FILE_OPTIONS)
        self._path = path
        self._loop = bool(whole_option("loop", values["loop"], 0, 1))
        self._pacer = Pacer(rate_option(values["rate"]))
        if not is_folder(path):
            raise DataError(
                "found no folder {}; expected images in it; name another with --source dir:PATH".format(path)
            )
        listing = _Listing(path)
        self._files = listing.images
        if not self._files:
            raise DataError("found no image in {}{}; expected files whose names end with {}; name another folder with "
                            "--source dir:PATH".format(path, listing.ignored(", but "), ", ".join(SUFFIXES)))  # fmt: skip
        if listing.ignored():
            warn(
                "found in {}, beside {} images, {}; they are ignored".format(path, len(self._files), listing.ignored())
            )
        self._next = 0

    def describe(self) -> str:
        return "{} images of {}".format(len(self._files), printable(self._path))

    def read(self) -> Optional[Frame]:
        count = len(self._files)
        if not self._pacer.wait(self.stop_event):
            return None
        for _ in range(count):
            if (self._next >= count and not self._loop) or (self.stop_event is not None and self.stop_event.is_set()):
                break
            index, name = self._next, self._files[self._next % count]
            self._next += 1
            try:
                return Frame(index, read_picture(name), None, time.monotonic())
            except DataError as error:
                self.skipped += 1
                if index < count:
                    warn("{}; it is skipped".format(str(error).rpartition("; ")[0]))
        else:
            raise DataError("could not read any of the {} image files in {}; expected whole {} files; copy them again".format(
                count, self._path, NAMES))  # fmt: skip
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
