"""Frames in memory, or from an .npz."""

import os
import time
from typing import Optional, Sequence

import numpy as np

from device.cameras.base import FILE_OPTIONS, Camera, Frame, Pacer, file_options, rate_option, whole_option
from device.errors import DataError
from device.pictures.bounds import MAX_PIXELS
from device.system.npz import read_arrays
from device.system.printable import printable

ARRAYS = (
    "expected frames uint8 (n, height, width, 3) in RGB or (n, height, width) in grey and, if known, labels int (n,)"
)
COLOURS = (1, 3)


class ArrayCamera(Camera):
    """Frames in memory.

    Args:
        frames: uint8 (n, h, w, 3) in RGB, (n, h, w, 1) or (n, h, w) in grey.
        labels: int (n,), the true classes, from 0.
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
        self._where = " in " + name if name else ""
        _check_frames(frames, self._where)
        if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != (len(frames),)):
            raise DataError("found labels of type {} and shape {} for {} frames{}; {}".format(
                labels.dtype, labels.shape, len(frames), self._where, ARRAYS))  # fmt: skip
        if labels is not None and labels.min() < 0:
            raise DataError("found label {}{}; expected classes from 0 on; correct the labels".format(
                labels.min(), self._where))  # fmt: skip
        if twins is not None and (twins.dtype != frames.dtype or twins.shape != frames.shape):
            raise DataError("found frames under attack of type {} and shape {}{}; expected those of the frames: {} and {}".format(
                twins.dtype, twins.shape, self._where, frames.dtype, frames.shape))  # fmt: skip
        self._frames, self._labels, self._twins = frames, labels, twins
        self._name = name
        self._loop = loop
        self._pacer = Pacer(rate)
        self._next = 0

    def describe(self) -> str:
        return "{} frames{}".format(len(self._frames), " of " + printable(self._name) if self._name else "")

    def check_classes(self, labels: Sequence[str]) -> None:
        if self._labels is not None and self._labels.max() >= len(labels):
            raise DataError("found label {}{}; expected 0 to {}, the classes of the bundle; use frames of these classes, or "
                            "leave the array labels out".format(self._labels.max(), self._where, len(labels) - 1))  # fmt: skip

    def read(self) -> Optional[Frame]:
        index, count = self._next, len(self._frames)
        if (index >= count and not self._loop) or not self._pacer.wait(self.stop_flag):
            return None
        self._next += 1
        place = index % count
        label = None if self._labels is None else int(self._labels[place])
        twin = None if self._twins is None else self._twins[place]
        return Frame(index, self._frames[place], label, time.monotonic(), twin)


def _check_frames(frames: np.ndarray, where: str) -> None:
    shape = frames.shape
    found = "found frames of type {} and shape {}{}".format(frames.dtype, shape, where)
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or 0 in shape:
        raise DataError("{}; {}".format(found, ARRAYS))
    if frames.ndim == 3 and shape[2] <= 4:
        raise DataError(
            "{}, which looks like one picture without the axis of frames; {}; save frames[None]".format(found, ARRAYS)
        )
    if frames.ndim == 4 and shape[3] not in COLOURS:
        advice = "save frames.transpose(0, 2, 3, 1)" if shape[1] in COLOURS else "save frames[..., :3]"
        raise DataError("{}, whose last axis is not that of the colours; {}; {}".format(found, ARRAYS, advice))
    if shape[1] * shape[2] > MAX_PIXELS:
        raise DataError(
            "{}; expected at most {} million pixels a frame; shrink them".format(found, MAX_PIXELS // 1000000)
        )


class NpzCamera(ArrayCamera):
    """``npz:FILE?loop=0&rate=15``: array ``frames`` uint8 (n, h, w, 3) in RGB or (n, h, w) in grey, and ``labels`` int (n,) if known.

    All frames are read at once; they may take half of this machine's memory.

    Raises:
        UsageError: an option that cannot work.
        DataError: absent, cut off, or other arrays than these.
    """

    def __init__(self, rest: str) -> None:
        path, values = file_options(rest, FILE_OPTIONS)
        loop, rate = bool(whole_option("loop", values["loop"], 0, 1)), rate_option(values["rate"])
        half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        try:
            arrays = read_arrays(path, ("frames", "labels"), half)
            if "frames" not in arrays:
                raise ValueError("no array of the name frames")
        except ValueError as error:
            raise DataError("could not read frames from {} ({}); {}".format(path, error, ARRAYS)) from error
        super().__init__(arrays["frames"], arrays.get("labels"), None, path, loop, rate)
