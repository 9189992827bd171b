"""A raw MJPEG file: JPEG pictures one behind the other, as libcamera-vid and many network cameras write them.

FFmpeg passes over a damaged picture of such a file without a word, so that all later frames get the numbers of others.
"""

from typing import BinaryIO, Optional, Tuple

import numpy as np

from device.pictures import jpeg
from device.pictures.read import decode_picture

START, END = b"\xff\xd8\xff", b"\xff\xd9"
PIECE = 1 << 20
MAX_PICTURE_BYTES = 32 << 20


class MjpegReader:
    """Pictures of an open file, in order. One that is damaged or cut off keeps its number and is passed over."""

    def __init__(self, file: BinaryIO) -> None:
        self.lost = 0
        self._file = file
        self._buffer = b""
        self._ended = False
        self._next = 0

    def read(self) -> Optional[Tuple[int, np.ndarray]]:
        """The next picture that can be decoded, uint8 (height, width, 3) in RGB, and its number; None at the end."""
        while True:
            piece = self._take()
            if piece is None:
                return None
            index = self._next
            self._next += 1
            try:
                return index, decode_picture(piece)
            except ValueError:
                self.lost += 1

    def _take(self) -> Optional[bytes]:
        """The bytes of the next picture, whole or not."""
        gap = self._seek(0)
        if gap is None:
            return None
        if END in gap:  # of a picture whose start is gone
            return gap
        while True:
            try:
                end = jpeg.extent(self._buffer).end
                break
            except jpeg.CutOffError:
                if self._ended or len(self._buffer) > MAX_PICTURE_BYTES:
                    end = len(self._buffer)
                    break
                self._fill(self._buffer)
            except ValueError as error:
                damaged = self._buffer
                place = getattr(error, "place", len(START))
                self._seek(place)
                return damaged[:place]
        piece, self._buffer = self._buffer[:end], self._buffer[end:]
        return piece

    def _seek(self, place: int) -> Optional[bytes]:
        """Drop what comes before the next start of a picture from ``place`` on, and return it; None where there is none."""
        while True:
            found = self._buffer.find(START, place)
            if found >= 0:
                gap, self._buffer = self._buffer[:found], self._buffer[found:]
                return gap
            if self._ended:
                self._buffer = b""
                return None
            kept = len(START) - 1
            if len(self._buffer) > MAX_PICTURE_BYTES:
                self._buffer, place = self._buffer[-kept:], 0
            place = max(place, len(self._buffer) - kept)
            self._fill(self._buffer)

    def _fill(self, kept: bytes) -> None:
        piece = self._file.read(PIECE)
        self._ended = not piece
        self._buffer = kept + piece

    def close(self) -> None:
        self._file.close()
