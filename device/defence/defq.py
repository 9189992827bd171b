"""DefQ: defensive quantisation of a frame's 8 x 8 DCT coefficients with a learned table (the DefQ paper, section III).

For each channel and each 8 x 8 block of pixels in 0..255: F = orthonormal DCT-II, F' = round(F / Q) x Q with halves
to even, pixels = clip(round(inverse DCT), 0, 255). There is no colour transform and no level shift. A height or width that
is not a multiple of 8 is padded by repeating the edge, and the padding is cropped afterwards.

device/defence/block_transform.py computes this in float32, and says how. The ONNX graphs (export/onnx/defq.py, export/onnx/forms/coefficients.py)
and PyTorch (export/defences/quantiser.py) compute the same with products that are put together otherwise. All of them agree on
every pixel, except where rounding is undecided for float32:

* a coefficient F lies within 0.001 of half way between two multiples of its step; then the whole block may differ, or
* a pixel lies within 0.001 of half way between two levels; then it may differ by one level.

Frequencies whose row and column are 0 or 4 are computed exactly, because their entries of kron(D, D) are 1/8 and -1/8. Flat
blocks are therefore the same everywhere, also where they lie half way: / Q and x Q are separate steps, and halves go to even.
"""

from typing import List, NamedTuple, Tuple

import cv2
import numpy as np

from device.defence.block_transform import BLOCK, BlockTransform
from device.errors import DataError, FrameError

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
    """Work space for one frame shape."""

    padded: bool  # the planes are larger than the frame
    planes: np.ndarray  # uint8 (channels, padded height, padded width)
    each_plane: List[np.ndarray]  # the same memory, uint8 (padded height, padded width) each
    blocks: BlockTransform  # of the planes
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
        self._shape: Tuple[int, ...] = ()
        self._buffers = None  # type: _Buffers  # type: ignore[assignment]

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
        buffers = self._load(frame)
        buffers.blocks.quantise()
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
        return self._load(frame).blocks.levels().reshape(-1, BLOCK * BLOCK)

    def _load(self, frame: np.ndarray) -> _Buffers:
        """Copy a frame into the planes."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            self._buffers = _buffers_for(frame, self.table)
            self._shape = frame.shape
        _split(frame, self._buffers)
        return self._buffers


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


def _buffers_for(frame: np.ndarray, table: np.ndarray) -> _Buffers:
    check_frame(frame)
    height, width = frame.shape[:2]
    channels = frame.shape[2] if frame.ndim == 3 else 1
    planes = np.empty((channels, -(-height // BLOCK) * BLOCK, -(-width // BLOCK) * BLOCK), np.uint8)
    padded = planes.shape[1:] != (height, width)
    cropped = np.empty((channels, height, width), np.uint8) if padded else planes
    return _Buffers(
        padded,
        planes,
        list(planes),
        BlockTransform(planes, table),
        cropped,
        list(cropped),
        np.empty(frame.shape, np.uint8),
    )
