"""Frames from files: a folder of images, or arrays in an .npz."""

import os
import sys
import time
import zipfile
from typing import List, Optional

import cv2
import numpy as np

from device.cameras.base import MAX_PIXELS, Camera, Frame, Pacer, file_options, rate_option, whole_option
from device.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm")
FILE_OPTIONS = {"loop": "0", "rate": ""}
ARRAYS = "expected frames uint8 (n, height, width, 3) or (n, height, width) and, if known, labels int (n,)"


class FolderCamera(Camera):
    """``dir:PATH?loop=0&rate=15``: the images of a folder and its sub-folders, by name. One that cannot be read is named and skipped.

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
        if not os.path.isdir(path):
            raise DataError(
                "found no folder {}; expected images in it; name another with --source dir:PATH".format(path)
            )
        self._files: List[str] = []
        for folder, folders, names in os.walk(path):
            folders.sort()
            self._files += [os.path.join(folder, name) for name in sorted(names) if name.lower().endswith(SUFFIXES)]
        if not self._files:
            raise DataError("found no image in {}; expected {} files; name another folder with --source dir:PATH".format(
                path, ", ".join(SUFFIXES)))  # fmt: skip
        self._next = 0

    def describe(self) -> str:
        return "{} images of {}".format(len(self._files), self._path)

    def read(self) -> Optional[Frame]:
        count = len(self._files)
        if not self._pacer.wait(self.stop_event):
            return None
        for _ in range(count):
            if self._next >= count and not self._loop:
                break
            index, name = self._next, self._files[self._next % count]
            self._next += 1
            pixels = cv2.imread(name, cv2.IMREAD_COLOR)
            if pixels is not None and pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS:
                return Frame(index, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), None, time.monotonic())
            self.skipped += 1
            if index < count:
                print(
                    "warning: could not read {} as an image; expected PNG, JPEG, BMP or PPM; it is skipped".format(
                        name
                    ),
                    file=sys.stderr,
                    flush=True,
                )
        if self._loop or self.skipped == count:
            raise DataError("could not read any of the {} image files in {}; expected PNG, JPEG, BMP or PPM; copy them again".format(
                count, self._path))  # fmt: skip
        return None


class ArrayCamera(Camera):
    """Frames in memory.

    Args:
        frames: uint8 (n, h, w, 3) in RGB or (n, h, w) in grey.
        labels: int (n,), the true classes.
        twins: as ``frames``, each the frame of that number under attack.
        name: what they are, for the console.
        loop: start again after the last one, without end; the frames' numbers go on.
        rate: frames a second; without it as fast as they are read.

    Raises:
        DataError: other arrays than these.
    """

    def __init__(
        self,
        frames: np.ndarray,
        labels: Optional[np.ndarray] = None,
        twins: Optional[np.ndarray] = None,
        name: str = "",
        loop: bool = False,
        rate: Optional[float] = None,
    ) -> None:
        super().__init__()
        where = " in " + name if name else ""
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or not len(frames):
            raise DataError(
                "found frames of type {} and shape {}{}; {}".format(frames.dtype, frames.shape, where, ARRAYS)
            )
        if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != (len(frames),)):
            raise DataError("found labels of type {} and shape {} for {} frames{}; {}".format(
                labels.dtype, labels.shape, len(frames), where, ARRAYS))  # fmt: skip
        if twins is not None and (twins.dtype != frames.dtype or twins.shape != frames.shape):
            raise DataError("found frames under attack of type {} and shape {}{}; expected those of the frames: {} and {}".format(
                twins.dtype, twins.shape, where, frames.dtype, frames.shape))  # fmt: skip
        self._frames, self._labels, self._twins = frames, labels, twins
        self._name = name
        self._loop = loop
        self._pacer = Pacer(rate)
        self._next = 0

    def describe(self) -> str:
        return "{} frames{}".format(len(self._frames), " of " + self._name if self._name else "")

    def read(self) -> Optional[Frame]:
        index, count = self._next, len(self._frames)
        if (index >= count and not self._loop) or not self._pacer.wait(self.stop_event):
            return None
        self._next += 1
        place = index % count
        label = None if self._labels is None else int(self._labels[place])
        twin = None if self._twins is None else self._twins[place]
        return Frame(index, self._frames[place], label, time.monotonic(), twin)


class NpzCamera(ArrayCamera):
    """``npz:FILE?loop=0&rate=15``: array ``frames`` uint8 (n, h, w, 3) in RGB or (n, h, w) in grey, and ``labels`` int (n,) if known.

    Raises:
        UsageError: an option that cannot work.
        DataError: absent, cut off, or other arrays than these.
    """

    def __init__(self, rest: str) -> None:
        path, values = file_options(rest, FILE_OPTIONS)
        loop, rate = bool(whole_option("loop", values["loop"], 0, 1)), rate_option(values["rate"])
        try:
            with np.load(path, allow_pickle=False) as arrays:
                frames = arrays["frames"]
                labels = arrays["labels"] if "labels" in arrays.files else None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
            raise DataError("could not read frames from {} ({}); {}".format(path, error, ARRAYS)) from error
        super().__init__(frames, labels, None, path, loop, rate)
