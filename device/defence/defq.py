"""DefQ: defensive quantisation of a frame's 8 x 8 DCT coefficients with a learned table (the DefQ paper, section III).

For each channel and each 8 x 8 block of pixels in 0..255: F = orthonormal DCT-II, F' = round(F / Q) x Q with halves
to even, pixels = clip(round(inverse DCT), 0, 255). There is no colour transform and no level shift. A height or width that
is not a multiple of 8 is padded by repeating the edge, and the padding is cropped afterwards.

Each transform is one product of (blocks, 64) with the 64 x 64 matrix kron(D, D). The matrix is built in float64 and cast to
float32, so that its exact entries (1/8) stay exact, and / Q and x Q are separate steps. NumPy here and the ONNX graph
(export/onnx/defq.py) therefore agree to the pixel, also where a value lies halfway between two steps.
"""

from typing import List, NamedTuple, Tuple

import cv2
import numpy as np

from device.errors import DataError, FrameError

BLOCK = 8
CHUNK_BLOCKS = 192  # 48 KiB of float32, which stay in a core's cache between the passes


def dct_matrix() -> np.ndarray:
    """The orthonormal DCT-II matrix D, float64 (8, 8): coefficients = D @ block @ D.T."""
    rows = np.arange(BLOCK)[:, None]
    columns = np.arange(BLOCK)[None, :]
    matrix: np.ndarray = np.sqrt(2 / BLOCK) * np.cos(np.pi * (2 * columns + 1) * rows / (2 * BLOCK))
    matrix[0] = np.sqrt(1 / BLOCK)
    return matrix


def block_dct_matrix() -> np.ndarray:
    """kron(D, D), float32 (64, 64): coefficients = matrix @ flattened block, block = matrix.T @ coefficients."""
    matrix = dct_matrix()
    return np.kron(matrix, matrix).astype(np.float32)


# the indices of a block's coefficients from low to high frequencies, in the zigzag order of JPEG files (ITU-T T.81, figure A.6)
ZIGZAG = np.array(sorted(range(64), key=lambda n: (n // 8 + n % 8, n // 8 if (n // 8 + n % 8) % 2 else n % 8)))


def check_table(table: np.ndarray) -> np.ndarray:
    """Return ``table`` as float32 (8, 8).

    Raises:
        DataError: not 8 x 8 finite numbers of at least 1.
    """
    values = np.asarray(table)
    if values.shape != (BLOCK, BLOCK) or values.dtype.kind not in "iuf":
        raise DataError("found a quantisation table of shape {} and type {}; expected 8 x 8 numbers; "
                        "bake a table, as in: defq table --model mobilenet --out table.json".format(values.shape, values.dtype))  # fmt: skip
    if not (np.isfinite(values).all() and values.min() >= 1 and values.max() <= 65535):
        raise DataError("found quantisation steps from {} to {}; expected 1 to 65535; "
                        "bake a table, as in: defq table --model mobilenet --out table.json".format(values.min(), values.max()))  # fmt: skip
    return values.astype(np.float32)


class _Buffers(NamedTuple):
    """Work space for one frame shape. The 64-bit views copy eight neighbouring pixels of a row at a time."""

    padded: bool  # the planes are larger than the frame
    planes: np.ndarray  # uint8 (channels, padded height, padded width)
    each_plane: List[np.ndarray]  # the same memory, uint8 (padded height, padded width) each
    rows_of_planes: np.ndarray  # the same memory as uint64 (channels, block rows, block columns, 8): a block's rows
    blocks: np.ndarray  # uint8 (blocks, 64)
    rows_of_blocks: np.ndarray  # the same memory as uint64 (channels, block rows, block columns, 8)
    cropped: np.ndarray  # uint8 (channels, height, width), contiguous
    each_cropped: List[np.ndarray]  # the same memory, uint8 (height, width) each
    frame: np.ndarray  # uint8, the frame's own shape


class DefQ:
    """Quantises frames with one table. Keeps buffers for the newest frame shape, so that an instance serves one thread.

    Args:
        table: Q_def, numbers (8, 8) in units of pixels 0..255, row = vertical frequency.

    Example:
        >>> defq = DefQ(np.full((8, 8), 40))
        >>> defq(np.full((480, 640, 3), 127, np.uint8))[0, 0]
        array([125, 125, 125], dtype=uint8)
    """

    def __init__(self, table: np.ndarray) -> None:
        self.table = check_table(table)
        self._inverse = block_dct_matrix()
        self._forward = np.ascontiguousarray(self._inverse.T)
        # operands of full size, because NumPy is twice as slow when it has to broadcast a row of 64 or a scalar
        self._steps = np.repeat(self.table.reshape(1, 64), CHUNK_BLOCKS, axis=0)
        self._zeros = np.zeros_like(self._steps)
        self._pixels = np.empty_like(self._steps)
        self._coefficients = np.empty_like(self._steps)
        self._shape: Tuple[int, ...] = ()
        self._buffers = None  # type: _Buffers  # type: ignore[assignment]
        self._chunks: List[Tuple[np.ndarray, ...]] = []

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Quantise a frame.

        Args:
            frame: uint8 (height, width, 3), (height, width, 1) or (height, width), any channel order.

        Returns:
            uint8 of the same shape, valid until the next call. Copy it to keep it.

        Raises:
            FrameError: the frame has another type, rank or number of channels, or no pixels.
        """
        planes = self.planes(frame)
        buffers = self._buffers
        if len(planes) == 3:
            cv2.merge(buffers.each_cropped, buffers.frame)
        else:
            buffers.frame.reshape(planes.shape)[...] = planes
        return buffers.frame

    def planes(self, frame: np.ndarray) -> np.ndarray:
        """Quantise a frame as a call does, but return colour planes: uint8 (channels, height, width), contiguous, valid until the
        next call."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            self._prepare(frame)
        buffers = self._buffers
        _split(frame, buffers)
        buffers.rows_of_blocks[...] = buffers.rows_of_planes
        self._quantise(self._chunks)
        buffers.rows_of_planes[...] = buffers.rows_of_blocks
        if buffers.padded:
            buffers.cropped[...] = buffers.planes[:, : frame.shape[0], : frame.shape[1]]
        return buffers.cropped

    def levels(self, frame: np.ndarray) -> np.ndarray:
        """The quantised coefficients of a frame, each in units of its step: round(F / Q).

        Args:
            frame: as for calling.

        Returns:
            float32 (blocks, 64), whole numbers. Blocks come row by row, and one channel after the other.
        """
        if frame.shape != self._shape or frame.dtype != np.uint8:
            self._prepare(frame)
        buffers = self._buffers
        _split(frame, buffers)
        buffers.rows_of_blocks[...] = buffers.rows_of_planes
        levels = np.empty(buffers.blocks.shape, np.float32)
        for start, (chunk, pixels, coefficients, steps, _) in zip(range(0, len(levels), CHUNK_BLOCKS), self._chunks):
            pixels[...] = chunk
            np.dot(pixels, self._forward, coefficients)
            np.divide(coefficients, steps, coefficients)
            np.rint(coefficients, levels[start : start + len(chunk)])
        return levels

    def _prepare(self, frame: np.ndarray) -> None:
        """Work space for frames of this shape."""
        self._buffers = _buffers_for(frame)
        self._chunks = self._split_into_chunks(self._buffers.blocks)
        self._shape = frame.shape

    def _quantise(self, chunks: List[Tuple[np.ndarray, ...]]) -> None:
        """Quantise blocks of pixels in place, one chunk after the other."""
        for chunk, pixels, coefficients, steps, zeros in chunks:
            pixels[...] = chunk
            np.dot(pixels, self._forward, coefficients)
            np.divide(coefficients, steps, coefficients)
            np.rint(coefficients, coefficients)
            np.multiply(coefficients, steps, coefficients)
            np.dot(coefficients, self._inverse, pixels)
            np.rint(pixels, pixels)
            np.maximum(pixels, zeros, out=pixels)
            cv2.convertScaleAbs(pixels, chunk)  # clips whole numbers of at least 0 to 255 and casts them, in one pass

    def _split_into_chunks(self, blocks: np.ndarray) -> List[Tuple[np.ndarray, ...]]:
        """Each chunk of ``blocks`` with views of its size on the work space and on the constants."""
        starts = range(0, len(blocks), CHUNK_BLOCKS)
        chunks = [blocks[start : start + CHUNK_BLOCKS] for start in starts]
        shared = (self._pixels, self._coefficients, self._steps, self._zeros)
        return [(chunk, *(each[: len(chunk)] for each in shared)) for chunk in chunks]


def _split(frame: np.ndarray, buffers: _Buffers) -> None:
    """Copy the frame's channels into the planes and repeat the edge into the padding."""
    height, width = frame.shape[:2]
    planes = buffers.planes
    if len(planes) == 3 and not buffers.padded:
        cv2.split(frame, buffers.each_plane)
        return
    planes[:, :height, :width] = frame.reshape(height, width, len(planes)).transpose(2, 0, 1)
    planes[:, height:, :width] = planes[:, height - 1 : height, :width]
    planes[:, :, width:] = planes[:, :, width - 1 : width]


def check_frame(frame: np.ndarray) -> None:
    """Check that an array is a frame.

    Raises:
        FrameError: not uint8 (h, w), (h, w, 1) or (h, w, 3), or no pixels.
    """
    known = frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] in (1, 3))
    if frame.dtype != np.uint8 or not known or 0 in frame.shape:
        raise FrameError("found a frame of type {} and shape {}; expected uint8 (height, width), (height, width, 1) or "
                         "(height, width, 3); convert it in the source".format(frame.dtype, frame.shape))  # fmt: skip


def _buffers_for(frame: np.ndarray) -> _Buffers:
    check_frame(frame)
    height, width = frame.shape[:2]
    channels = frame.shape[2] if frame.ndim == 3 else 1
    block_rows, block_columns = -(-height // BLOCK), -(-width // BLOCK)
    planes = np.empty((channels, block_rows * BLOCK, block_columns * BLOCK), np.uint8)
    blocks = np.empty((channels * block_rows * block_columns, BLOCK * BLOCK), np.uint8)
    rows_of_planes = planes.view(np.uint64).reshape(channels, block_rows, BLOCK, block_columns).transpose(0, 1, 3, 2)
    rows_of_blocks = blocks.view(np.uint64).reshape(channels, block_rows, block_columns, BLOCK)
    padded = planes.shape[1:] != (height, width)
    cropped = np.empty((channels, height, width), np.uint8) if padded else planes
    return _Buffers(
        padded, planes, list(planes), rows_of_planes, blocks, rows_of_blocks,
        cropped, list(cropped), np.empty(frame.shape, np.uint8),
    )  # fmt: skip
