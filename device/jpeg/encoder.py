"""Writes frames as baseline JPEG files whose quantisation table is Q_def, as a camera's JPEG engine would do with DefQ.

The format is that of ITU-T T.81 (1992): baseline sequential, 8 bits, one scan, no subsampling, and the typical Huffman tables of
Annex K.3. Colour frames are stored as R, G and B; an APP14 segment of Adobe (ITU-T T.872) with transform 0 tells decoders so.
The AC coefficients are bit-equal to those of DefQ. The pixels of a decoded file differ from DefQ's for two reasons:

* DC: JPEG subtracts 128 from every pixel, and so 1024 from the DC of a block, before it rounds; DefQ does not. Unless Q[0][0]
  divides 1024, the two have different grids of DC values; see ``DC_RULES``. With an odd Q[0][0] the rule "exact" uses a first
  step of 1, and such a file holds a DC of at most 2047 (255.9 pixel levels). DefQ may round a white block up to more than that,
  for example to 2151 for Q[0][0] = 239. Such a block is darker in the file, by at most 13 levels before clipping.
* The decoder's own arithmetic: most decoders invert the DCT in integers and round halves up, while DefQ rounds halves to even.

This is done by hand because the device has no other way: OpenCV takes no quantisation table, and Pillow, which does (``qtables``),
is not among the device's packages, rounds the DC as "camera" does alone, and has its own integer DCT.
"""

import math
import struct
from typing import Dict, Tuple

import numpy as np

from device.defence.block_transform import BLOCK
from device.defence.defq import ZIGZAG, DefQ, check_frame, check_table
from device.errors import FrameError, UsageError

DC_RULES = {
    "nearest": "DefQ's DC, moved to the nearest value that a file with Q_def can hold: at most Q[0][0] / 16 pixel levels",
    "exact": "DefQ's DC itself, up to the brightest that a file can hold; the file's table has gcd(Q[0][0], 1024) for its first "
    "step, which makes files larger",
    "camera": "the DC rounded after the 128 is taken off, as a camera's JPEG engine does",
}
LEVEL_SHIFT = 128 * BLOCK  # of an orthonormal DC
MAX_STEP, MAX_SIDE = 255, 65535
MAX_DIFFERENCE = 2047  # of the DC of a block to the one before it (T.81 table F.1)

# The number of codes of each length from 1 to 16 bits, and the symbols of the codes, shortest first (T.81 tables K.3 and K.5)
DC_COUNTS = (0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0)
DC_SYMBOLS = tuple(range(12))
AC_COUNTS = (0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125)
_SHORT = bytes.fromhex("01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282")
_ALL = [16 * run + size for run in range(16) for size in range(1, 11)]
AC_SYMBOLS = (*_SHORT, *(each for each in _ALL if each not in _SHORT))
END_OF_BLOCK, SIXTEEN_ZEROS = 0x00, 0xF0

_DC_ROW, _END_ROW = 64, 65  # of the code arrays, after the rows for runs of 0 to 63 zeros
_SIZES = np.array([abs(value).bit_length() for value in range(-2048, 2048)], np.int64)
_MAGNITUDES = np.arange(
    -2048, 2048
)  # value -> the bits after its code; of a negative value, the lowest bits of the value less 1
_MAGNITUDES[:2048] += (1 << _SIZES[:2048]) - 1
_MAGNITUDES = _MAGNITUDES.astype(np.uint64)


def huffman_codes(counts: Tuple[int, ...], symbols: Tuple[int, ...]) -> Dict[int, Tuple[int, int]]:
    """Symbol -> (code, its length in bits), for a table as it stands in a file (T.81 annex C)."""
    codes, code, place = {}, 0, 0
    for length, count in enumerate(counts, 1):
        for symbol in symbols[place : place + count]:
            codes[symbol] = code, length
            code += 1
        code, place = code << 1, place + count
    return codes


def _code_arrays() -> Tuple[np.ndarray, np.ndarray]:
    """Codes uint64 (66, 16) and their lengths in bits int64 (66, 16), at [zeros before a coefficient, size], [_DC_ROW, size] and
    [_END_ROW, 0].

    A run of more than 15 zeros needs codes for sixteen zeros. They stand before the coefficient's code in the same word, which has
    at most 59 bits.
    """
    dc, ac = huffman_codes(DC_COUNTS, DC_SYMBOLS), huffman_codes(AC_COUNTS, AC_SYMBOLS)
    codes, lengths = np.zeros((66, 16), np.uint64), np.zeros((66, 16), np.int64)
    for run in range(63):
        for size in range(1, 11):
            code, length = ac[run % 16 * 16 + size]
            for _ in range(run // 16):
                code |= ac[SIXTEEN_ZEROS][0] << length
                length += ac[SIXTEEN_ZEROS][1]
            codes[run, size], lengths[run, size] = code, length
    for size, (code, length) in dc.items():
        codes[_DC_ROW, size], lengths[_DC_ROW, size] = code, length
    codes[_END_ROW, 0], lengths[_END_ROW, 0] = ac[END_OF_BLOCK]
    return codes, lengths


_CODES, _LENGTHS = _code_arrays()


def check_steps(table: np.ndarray) -> np.ndarray:
    """Return a table as the steps of a baseline file, int64 (8, 8).

    Raises:
        DataError: no table; UsageError: a step that such a file cannot hold.
    """
    steps = check_table(table)
    wrong = steps[(steps != np.rint(steps)) | (steps > MAX_STEP)]
    if wrong.size:
        raise UsageError("found a quantisation step of {:g}; expected whole steps from 1 to {}, which is what a baseline JPEG "
                         "file holds; choose a table with such steps".format(wrong.flat[0], MAX_STEP))  # fmt: skip
    return steps.astype(np.int64)


class JpegEncoder:
    """Writes frames as JPEG files with one table. Buffers are kept per frame shape: an instance serves one thread.

    Args:
        table: Q_def, whole numbers (8, 8) from 1 to 255, row = vertical frequency.
        dc: one of ``DC_RULES``.

    Raises:
        DataError: no table; UsageError: steps that a file cannot hold, or another rule.

    Example:
        >>> file = JpegEncoder(np.full((8, 8), 40)).encode(np.full((480, 640, 3), 127, np.uint8))
        >>> file[:2], len(file)
        (b'\\xff\\xd8', 11135)
    """

    def __init__(self, table: np.ndarray, dc: str = "nearest") -> None:
        if dc not in DC_RULES:
            raise UsageError("found the DC rule {}; expected {}".format(dc, ", ".join(DC_RULES)))
        self.steps = check_steps(table)
        """int64 (8, 8), as the files hold them."""
        self._defq, self._dc = DefQ(table), dc
        self._first = int(self.steps[0, 0])
        if dc == "exact":
            self.steps[0, 0] = math.gcd(self._first, LEVEL_SHIFT)

    def encode(self, frame: np.ndarray) -> bytes:
        """The JPEG file of a frame.

        Args:
            frame: uint8 (height, width, 3) in RGB, (height, width, 1) or (height, width) in grey.

        Raises:
            FrameError: another type or shape, or more than 65535 rows or columns.
        """
        check_frame(frame)
        if max(frame.shape[:2]) > MAX_SIDE:
            raise FrameError("found a frame of {} rows and {} columns; expected at most {} of each, which is what JPEG allows; "
                             "choose a smaller size".format(*frame.shape[:2], MAX_SIDE))  # fmt: skip
        channels = frame.shape[2] if frame.ndim == 3 else 1
        return b"".join([
            _header(self.steps, frame.shape[0], frame.shape[1], channels),
            entropy_coded(self._indices(frame, channels)).replace(b"\xff", b"\xff\x00"),  # otherwise taken for a marker
            b"\xff\xd9",
        ])  # fmt: skip

    def _indices(self, frame: np.ndarray, channels: int) -> np.ndarray:
        """The quantised coefficients for the file, float32 (channels, blocks, 64), in units of its steps."""
        levels = self._defq.levels(frame).reshape(channels, -1, BLOCK * BLOCK)
        dc = levels[:, :, 0]
        if self._dc == "camera":
            dc[...] = np.rint((block_sums(frame).reshape(channels, -1) / BLOCK - LEVEL_SHIFT) / self._first)
        elif self._dc == "nearest":
            dc -= round(LEVEL_SHIFT / self._first)
        else:
            step = int(self.steps[0, 0])
            dc *= self._first // step
            dc -= LEVEL_SHIFT // step
            # with a step of 1, white may otherwise be further from black than any code reaches
            np.minimum(dc, MAX_DIFFERENCE - LEVEL_SHIFT // step, out=dc)
        return levels


def block_sums(frame: np.ndarray) -> np.ndarray:
    """Sums of the 8 x 8 blocks, int64 (channels, block rows, block columns); the edge is repeated as in DefQ."""
    height, width = frame.shape[:2]
    planes = np.pad(frame.reshape(height, width, -1), ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), "edge")
    down = np.add.reduceat(planes, np.arange(0, len(planes), BLOCK), axis=0, dtype=np.int64)
    across = np.add.reduceat(down, np.arange(0, planes.shape[1], BLOCK), axis=1)
    return across.transpose(2, 0, 1)


def entropy_coded(indices: np.ndarray) -> bytes:
    """The Huffman codes of quantised coefficients, filled up with ones to whole bytes; no zeros are stuffed after 0xff yet.

    Args:
        indices: whole numbers (channels, blocks, 64), blocks row by row, AC within +-1023, DC so that neighbours differ by at most 2047.
    """
    channels, count, _ = indices.shape
    ordered = np.zeros((count, channels, 65), np.int16)  # a 65th place, for the end of the block
    ordered[:, :, :64] = indices.astype(np.int16)[:, :, ZIGZAG].transpose(1, 0, 2)
    ordered[1:, :, 0] -= ordered[:-1, :, 0].copy()  # DC: difference to the block before
    coded = ordered != 0
    coded[:, :, 0] = True
    coded[:, :, 64] = ordered[:, :, 63] == 0
    places = np.flatnonzero(coded)
    values = ordered.ravel()[places] + 2048
    numbers = places % 65
    kinds = np.empty_like(places)
    kinds[1:] = np.diff(places) - 1  # zeros before this coefficient
    kinds[numbers == 0] = _DC_ROW
    kinds[numbers == 64] = _END_ROW
    sizes = _SIZES[values]
    words = _CODES[kinds, sizes] << sizes.astype(np.uint64) | _MAGNITUDES[values]
    return _joined(words, _LENGTHS[kinds, sizes] + sizes)


def _joined(words: np.ndarray, lengths: np.ndarray) -> bytes:
    """The lowest ``lengths`` bits (1 to 63 each) of uint64 words, one after the other, filled up with ones to whole bytes."""
    ends = np.cumsum(lengths)
    total = int(ends[-1])
    starts = ends - lengths
    targets = starts >> 6  # the 64-bit word in which each begins; every word has a beginning
    left = (
        64 - (starts & 63) - lengths
    )  # free bits to its right in that word; negative where it continues in the next word
    inside = words << np.maximum(left, 0).astype(np.uint64) >> np.maximum(-left, 0).astype(np.uint64)
    firsts = np.flatnonzero(np.diff(targets, prepend=-1))
    joined = np.zeros(len(firsts) + 1, np.uint64)
    joined[:-1] = np.add.reduceat(inside, firsts)
    over = np.flatnonzero(left < 0)
    joined[targets[over] + 1] += words[over] << (64 + left[over]).astype(np.uint64)
    content = bytearray(joined.astype(">u8").tobytes()[: -(-total // 8)])
    content[-1] |= (1 << -total % 8) - 1
    return bytes(content)


def _header(steps: np.ndarray, height: int, width: int, channels: int) -> bytes:
    """All segments before the scan (T.81 annex B.2)."""
    names = b"RGB" if channels == 3 else b"Y"
    frame = struct.pack(">BHHB", 8, height, width, channels) + b"".join(bytes((name, 0x11, 0)) for name in names)
    scan = bytes((channels,)) + b"".join(bytes((name, 0x00)) for name in names) + bytes((0, 63, 0))
    huffman = b"".join(
        bytes((kind, *counts, *symbols))
        for kind, counts, symbols in ((0x00, DC_COUNTS, DC_SYMBOLS), (0x10, AC_COUNTS, AC_SYMBOLS))
    )
    adobe = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0)  # version, two flags, transform: none
    segments = [
        *([(0xEE, adobe)] if channels == 3 else []),
        (0xDB, bytes((0, *steps.ravel()[ZIGZAG].tolist()))),
        (0xC0, frame),
        (0xC4, huffman),
        (0xDA, scan),
    ]
    return b"\xff\xd8" + b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
