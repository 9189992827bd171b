"""Quantises the 8 x 8 blocks of colour planes: DCT, / Q, round, x Q, inverse DCT, round, clip.

The DCT of a block is a product of its 64 pixels with kron(D, D). Row m of D is even under mirroring for even m, that is
D[m, 7 - y] = D[m, y], and odd for odd m. So the sums of mirrored pixels give the even coefficients and their differences the
odd ones, and the product falls apart into smaller ones:

* Folded in rows: row y with row 7 - y. Two products of 32 x 32 take half of the multiply-accumulates of one of 64 x 64.
* Folded in rows and columns: the four quarters of a block with each other. Four products of 16 x 16 take a quarter of them, but
  the folding takes longer. It pays for larger frames.

The sums and differences are whole numbers of at most 1020, and therefore exact in float32. The products differ from those with
kron(D, D) in the order of their sums, and therefore in the last bits of float32.
"""

from typing import List, NamedTuple, Optional, Tuple

import cv2
import numpy as np

BLOCK = 8
HALF = BLOCK // 2
CHUNK_BLOCKS = 448  # 112 KiB of float32 in each of three arrays, which stay in a core's second cache between the passes
BOTH_WAYS_FROM = 256  # blocks of a frame from which folding both ways takes less time than folding rows alone

ALL, EVEN, ODD = slice(None), slice(0, None, 2), slice(1, None, 2)


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


class Fold(NamedTuple):
    """How blocks are folded."""

    parts: List[Tuple[slice, slice]]
    """The rows and columns of the coefficients that each product gives."""
    width: int
    """The columns of a folded block."""

    def matrices(self) -> np.ndarray:
        """float32 (parts, pixels, pixels) for the folded pixels of a block: coefficients = matrix @ pixels, pixels = matrix.T @
        coefficients."""
        matrix = dct_matrix()
        each = [np.kron(matrix[rows, :HALF], matrix[columns, : self.width]) for rows, columns in self.parts]
        return np.stack(each).astype(np.float32)


ROWS = Fold([(EVEN, ALL), (ODD, ALL)], BLOCK)
ROWS_AND_COLUMNS = Fold([(EVEN, EVEN), (EVEN, ODD), (ODD, EVEN), (ODD, ODD)], HALF)


def fold_for(blocks: int) -> Fold:
    """The fold for frames of so many blocks. It depends on nothing else, so that results do not depend on the machine's speed."""
    return ROWS_AND_COLUMNS if blocks >= BOTH_WAYS_FROM else ROWS


class _Move(NamedTuple):
    """Two views whose elements are four or eight neighbouring pixels, (block rows, block columns, 4)."""

    planes: np.ndarray
    copy: np.ndarray


class Chunk(NamedTuple):
    """Some rows of blocks. The arrays below ``moves`` are shared with the other chunks."""

    moves: List[_Move]
    near: np.ndarray  # uint8 (n, pixels): the upper halves of the blocks, or their left quarters
    far: np.ndarray  # uint8 (n, pixels): what is added to ``near`` and taken off it, mirrored
    sums: np.ndarray  # float32 (n, pixels)
    differences: np.ndarray  # float32 (n, pixels)
    once: np.ndarray  # the memory of both, float32 (parts, blocks, pixels)
    other: np.ndarray  # float32 (parts, blocks, pixels)
    steps: np.ndarray  # float32 (parts, blocks, pixels): the table, for each block


class BlockTransform:
    """Quantises the blocks of colour planes in place.

    Args:
        planes: uint8 (channels, height, width), contiguous, whose sides are multiples of 8.
        table: Q_def, float32 (8, 8).
        fold: the default is that of ``fold_for``.
    """

    def __init__(self, planes: np.ndarray, table: np.ndarray, fold: Optional[Fold] = None) -> None:
        self._blocks = planes.size // BLOCK**2
        self._fold = fold or fold_for(self._blocks)
        self._inverse = self._fold.matrices()
        self._forward = np.ascontiguousarray(self._inverse.swapaxes(1, 2))
        self._twice = self._fold.width == HALF
        self._chunks = _chunks_of(planes, table, self._fold)

    def quantise(self) -> None:
        """Replace the pixels of the planes by those of their quantised coefficients."""
        for chunk in self._chunks:
            coefficients = self._transform(chunk)
            np.rint(coefficients, coefficients)
            np.multiply(coefficients, chunk.steps, coefficients)
            if self._twice:
                np.matmul(coefficients, self._inverse, chunk.other)
                np.add(chunk.other[:2], chunk.other[2:], chunk.once[0::2])
                np.subtract(chunk.other[:2], chunk.other[2:], chunk.once[1::2])
            else:
                np.matmul(coefficients, self._inverse, chunk.once)
            _unfold(chunk)
            for planes, copy in chunk.moves:
                planes[...] = copy

    def levels(self) -> np.ndarray:
        """The quantised coefficients of the planes in units of their steps, whole numbers, float32 (blocks, 8, 8)."""
        levels = np.empty((self._blocks, BLOCK, BLOCK), np.float32)
        end = 0
        for chunk in self._chunks:
            coefficients = self._transform(chunk)
            start, end = end, end + coefficients.shape[1]
            for (rows, columns), part in zip(self._fold.parts, coefficients):
                np.rint(part.reshape(-1, HALF, self._fold.width), levels[start:end, rows, columns])
        return levels

    def _transform(self, chunk: Chunk) -> np.ndarray:
        """F / Q of a chunk, float32 (parts, blocks, pixels)."""
        moves, near, far, sums, differences, folded, coefficients, steps = chunk
        for planes, copy in moves:
            copy[...] = planes
        cv2.add(near, far, sums, None, cv2.CV_32F)
        cv2.subtract(near, far, differences, None, cv2.CV_32F)
        if self._twice:
            folded, coefficients = coefficients, folded
            np.add(coefficients[0::2], coefficients[1::2], folded[:2])
            np.subtract(coefficients[0::2], coefficients[1::2], folded[2:])
        np.matmul(folded, self._forward, coefficients)
        np.divide(coefficients, steps, coefficients)
        return coefficients


def _opencv_rounds_half_to_even() -> bool:
    """Whether OpenCV rounds as NumPy does when it turns float32 into uint8. Its code for some processors rounds halves up."""
    halves = np.repeat(np.arange(-0.5, 256, dtype=np.float32)[:, None], 32, axis=1)
    found = np.empty(halves.shape, np.uint8)
    cv2.add(halves, np.zeros_like(halves), found, None, cv2.CV_8U)
    return np.array_equal(found, np.clip(np.rint(halves), 0, 255))


_ROUNDS_HALF_TO_EVEN = _opencv_rounds_half_to_even()


def _unfold(chunk: Chunk) -> None:
    """Add and subtract the two parts of the pixels, round halves to even, and clip to 0..255."""
    if _ROUNDS_HALF_TO_EVEN:
        cv2.add(chunk.sums, chunk.differences, chunk.near, None, cv2.CV_8U)
        cv2.subtract(chunk.sums, chunk.differences, chunk.far, None, cv2.CV_8U)
    else:
        chunk.near[...] = np.clip(np.rint(chunk.sums + chunk.differences), 0, 255)
        chunk.far[...] = np.clip(np.rint(chunk.sums - chunk.differences), 0, 255)


def _chunks_of(planes: np.ndarray, table: np.ndarray, fold: Fold) -> List[Chunk]:
    """Chunks of whole rows of blocks, of nearly equal size."""
    columns = planes.shape[2] // BLOCK
    rows = planes.size // columns // BLOCK**2
    height = -(-rows // -(-rows * columns // CHUNK_BLOCKS))  # of a chunk, in rows of blocks
    chunks = []
    work = None
    for start in range(0, rows, height):
        count = min(height, rows - start)
        if work is None or count != height:  # the last chunk may be smaller
            work = _work_space(count * columns, table, fold)
        copies, once, other, steps = work
        strip = planes.reshape(rows, BLOCK, -1)[start : start + count]
        halves = copies.reshape(2, -1, copies.shape[2])
        sums, differences = once.reshape(halves.shape)
        chunks.append(Chunk(_moves(strip, copies), halves[0], halves[1], sums, differences, once, other, steps))
    return chunks


def _work_space(blocks: int, table: np.ndarray, fold: Fold) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Copies of pixels uint8, two arrays for products, and the steps, each (parts, blocks, pixels)."""
    shape = len(fold.parts), blocks, HALF * fold.width
    steps = np.stack([table[rows, columns] for rows, columns in fold.parts]).reshape(shape[0], 1, shape[2])
    # the steps have full size, because NumPy is twice as slow when it has to broadcast a row
    return (
        np.empty(shape, np.uint8),
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
        np.repeat(steps, blocks, axis=1),
    )


def _moves(strip: np.ndarray, copies: np.ndarray) -> List[_Move]:
    """What is copied of a strip uint8 (block rows, 8, width) to ``copies`` uint8 (parts, blocks, pixels), and back.

    Eight neighbouring pixels are copied as one number of 64 bits. Four are one of 32 bits, and to read it in the other order of
    bytes mirrors them.
    """
    rows = strip.shape[0]
    if len(copies) == 2:
        pixels = strip.view(np.uint64).transpose(0, 2, 1)
        halves = copies.view(np.uint64).reshape(2, rows, -1, HALF)
        return [_Move(pixels[..., :HALF], halves[0]), _Move(pixels[..., : HALF - 1 : -1], halves[1])]
    left, right = (strip.view(order).transpose(0, 2, 1)[:, side::2] for side, order in ((0, "<u4"), (1, ">u4")))
    quarters = copies.view("<u4").reshape(4, rows, -1, HALF)
    return [
        _Move(side[..., which], quarters[index])
        for index, (side, which) in enumerate(
            (side, which) for side in (left, right) for which in (slice(HALF), slice(None, HALF - 1, -1))
        )
    ]
