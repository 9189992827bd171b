"""Frames from a folder of images."""

import time
from typing import Optional

from device.cameras.base import FILE_OPTIONS, Camera, Frame, Pacer, file_options, rate_option, whole_option
from device.cameras.image_files import image_files
from device.errors import DataError
from device.pictures.formats import NAMES
from device.pictures.read import read_picture
from device.system.console import warn
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
        self._files = image_files(path, "dir:PATH")
        self._next = 0

    def describe(self) -> str:
        return "{} images of {}".format(len(self._files), printable(self._path))

    def read(self) -> Optional[Frame]:
        count = len(self._files)
        if not self._pacer.wait(self.stop_flag):
            return None
        for _ in range(count):
            if (self._next >= count and not self._loop) or (self.stop_flag is not None and self.stop_flag.is_set()):
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
