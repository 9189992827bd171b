"""Frames from files: a folder of images, or arrays in an .npz."""

import os
import sys
import time
import zipfile
from typing import List, Optional

import cv2
import numpy as np

from device.cameras.base import MAX_PIXELS, Camera, Frame
from device.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm")


class FolderCamera(Camera):
    """``dir:PATH``: the images of a folder and its sub-folders, by name. One that cannot be read is named and skipped.

    Raises:
        DataError: no folder, or no image in it.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
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
        while self._next < len(self._files):
            index, name = self._next, self._files[self._next]
            self._next += 1
            pixels = cv2.imread(name, cv2.IMREAD_COLOR)
            if pixels is not None and pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS:
                return Frame(index, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), None, time.monotonic())
            self.skipped += 1
            print(
                "warning: could not read {} as an image; expected PNG, JPEG, BMP or PPM; it is skipped".format(name),
                file=sys.stderr,
                flush=True,
            )
        if self.skipped == len(self._files):
            raise DataError("could not read any of the {} image files in {}; expected PNG, JPEG, BMP or PPM; copy them again".format(
                self.skipped, self._path))  # fmt: skip
        return None


class NpzCamera(Camera):
    """``npz:FILE``: array ``frames`` uint8 (n, h, w, 3) in RGB or (n, h, w) in grey, and ``labels`` int (n,) if known.

    Raises:
        DataError: absent, cut off, or other arrays than these.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        advice = "expected frames uint8 (n, height, width, 3) or (n, height, width) and, if known, labels int (n,)"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                self._frames = arrays["frames"]
                self._labels = arrays["labels"] if "labels" in arrays.files else None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
            raise DataError("could not read frames from {} ({}); {}".format(path, error, advice)) from error
        frames, labels = self._frames, self._labels
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or not len(frames):
            raise DataError(
                "found frames of type {} and shape {} in {}; {}".format(frames.dtype, frames.shape, path, advice)
            )
        if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != (len(frames),)):
            raise DataError("found labels of type {} and shape {} for {} frames in {}; {}".format(
                labels.dtype, labels.shape, len(frames), path, advice))  # fmt: skip
        self._path = path
        self._next = 0

    def describe(self) -> str:
        return "{} frames of {}".format(len(self._frames), self._path)

    def read(self) -> Optional[Frame]:
        index = self._next
        if index == len(self._frames):
            return None
        self._next += 1
        label = None if self._labels is None else int(self._labels[index])
        return Frame(index, self._frames[index], label, time.monotonic())
