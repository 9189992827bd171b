"""Frames from a video file: raw MJPEG by ourselves, everything else through OpenCV."""

import math
import os
import time
from typing import BinaryIO, Optional, Tuple

import cv2
import numpy as np

from device.cameras.base import Camera, Frame
from device.cameras.capture import ffmpeg_options, open_capture
from device.cameras.mjpeg import START, MjpegReader
from device.errors import DataError
from device.pictures.bounds import MAX_PIXELS
from device.system.console import warn
from device.system.files import open_regular
from device.system.printable import printable

PATIENCE = 256  # reads in a row that fail: the video has ended
COUNTED = (
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (4, b"wide"),
    (0, b"RIFF"),
)  # containers that count their frames exactly
WHOLE_PACKETS = "fflags;discardcorrupt"  # without it FFmpeg makes up the rest of a frame that was cut off


class VideoCamera(Camera):
    """``video:FILE``: every frame of a video file, with the number that it has there.

    Frames that cannot be decoded are passed over and counted, those behind the end of a file that was cut off too, as far
    as the container says how many there should be. At the end they are told.

    Raises:
        DataError: absent, or nothing that OpenCV can decode.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        try:
            file = open_regular(path)
        except OSError as error:
            raise DataError("found no file {} that can be read ({}); expected a video; name another with --source "
                            "video:FILE".format(path, error.strerror)) from error  # fmt: skip
        start = file.read(12)
        file.seek(0)
        self._frames = MjpegReader(file) if start.startswith(START) else ContainerReader(file, path, start)
        self._told = 0
        self._first = self._frames.read()
        if self._first is None:
            self._frames.close()
            raise DataError("could not decode a frame of {}; expected a video that OpenCV can read, such as MP4 or AVI; "
                            "convert it".format(path))  # fmt: skip

    def describe(self) -> str:
        return "video {}".format(printable(self._path))

    def read(self) -> Optional[Frame]:
        found, self._first = self._first or self._frames.read(), None
        self.skipped = self._frames.lost
        if found is None:
            self._tell()
            return None
        return Frame(found[0], found[1], None, time.monotonic())

    def _tell(self) -> None:
        """Say once what was lost."""
        if self.skipped > self._told:
            self._told = self.skipped
            warn("lost {} frames of {}, which are damaged or missing; they are skipped".format(self._told, self._path))

    def close(self) -> None:
        self._tell()  # a run may end before the video does
        self._frames.close()


class ContainerReader:
    """Frames of a container such as MP4, AVI or Matroska.

    OpenCV says of a frame that cannot be decoded what it says at the end of the video. So the end is where many reads in
    a row fail. A frame's number follows from the reads before it; where the container does not count its frames (Matroska,
    MPEG-TS), also from its time stamp, as long as the video keeps a steady rate.

    Args:
        file: open; it is closed by ``close``.
        path: its name.
        start: its first bytes.
    """

    def __init__(self, file: BinaryIO, path: str, start: bytes) -> None:
        self.lost = 0
        self._file = file
        self._next = 0
        with ffmpeg_options(WHOLE_PACKETS):
            self._capture = open_capture(_safe_name(path, file), cv2.CAP_ANY)
        self._exact = any(start[place:].startswith(mark) for place, mark in COUNTED)
        count, rate = (self._capture.get(each) for each in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        self._count = int(count) if 0 < count < 1 << 40 else 0
        self._rate = rate if math.isfinite(rate) and 0 < rate <= 1000 else 0.0
        self._start_ms: Optional[float] = None
        self._steady = not self._exact and self._rate > 0
        size = [self._capture.get(each) for each in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        self._ended = not self._capture.isOpened() or size[0] * size[1] > MAX_PIXELS

    def read(self) -> Optional[Tuple[int, np.ndarray]]:
        """The next frame that can be decoded, uint8 (height, width, 3) in RGB, and its number; None at the end."""
        for failed in range(0 if self._ended else PATIENCE):
            try:
                worked, pixels = self._capture.read()
                if worked and pixels is not None and pixels.size:
                    pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
                    index = self._number(failed)
                    self.lost += index - self._next
                    self._next = index + 1
                    return index, pixels
            except cv2.error:
                pass  # as one that cannot be decoded
        if not self._ended:
            self._ended = True
            missing = self._count - self._next
            if missing > (
                0 if self._exact else max(1, self._count // 100)
            ):  # the others are estimated from the duration
                self.lost += missing
        return None

    def _number(self, failed: int) -> int:
        """The number of the frame that was just decoded, after ``failed`` reads that gave none."""
        counted = self._next + failed
        if not self._steady:
            return counted
        now_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if self._start_ms is None:
            self._start_ms = now_ms - counted / self._rate * 1e3
        place = (now_ms - self._start_ms) * self._rate / 1e3
        if not math.isfinite(place) or abs(place - round(place)) > 0.25 or not counted <= round(place) < self._count:
            self._steady = False
            return counted
        return round(place)

    def close(self) -> None:
        self._capture.release()
        self._file.close()


def _safe_name(path: str, file: BinaryIO) -> str:
    """A name of the open file that FFmpeg and OpenCV take for nothing else.

    A relative name with a colon would be a protocol to FFmpeg; one that is not UTF-8 ends the process in OpenCV's code.
    """
    try:
        return os.fsencode(os.path.abspath(path)).decode("utf-8")
    except UnicodeDecodeError:
        return "/proc/self/fd/{}".format(file.fileno())
