"""The DCT of 8 x 8 blocks: rounding, the two ways to fold the products, and the division into chunks."""

import numpy as np
import pytest

from device.defence import block_transform
from device.defence.block_transform import (
    BOTH_WAYS_FROM,
    CHUNK_BLOCKS,
    ROWS,
    ROWS_AND_COLUMNS,
    BlockTransform,
    block_dct_matrix,
    dct_matrix,
    fold_for,
)
from device.defence.defq import DefQ

FOLDS = [ROWS, ROWS_AND_COLUMNS]
NAMES = ["rows", "rows and columns"]
UNDECIDED = 1e-3
TABLES = [np.add.outer(np.arange(8), np.arange(8)) * 3 + 20, np.full((8, 8), 7), np.ones((8, 8))]
SHAPES = [(3, 32, 32), (1, 8, 8), (1, 8, 80), (3, 104, 96), (1, 480, 640)]


def pictures(shape):
    """Noise, waves, blocks of one grey level, black beside white, and few levels, which make many ties."""
    random = np.random.RandomState(sum(shape))
    channels, height, width = shape
    y, x = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(x / 9.0 + c) + 40 * np.cos(y / (5.0 + c)) for c in range(channels)]
    flat = random.randint(0, 256, (channels, height // 8, width // 8))
    yield random.randint(0, 256, shape)
    yield np.clip(np.stack(waves), 0, 255)
    yield flat.repeat(8, axis=1).repeat(8, axis=2)
    yield random.randint(0, 2, shape) * 255
    yield random.randint(0, 4, shape) * 20 + 100


def blocks_of(planes):
    channels, height, width = planes.shape
    return planes.reshape(channels, height // 8, 8, width // 8, 8).swapaxes(2, 3).astype(float).reshape(-1, 8, 8)


def from_half_way(values):
    return np.abs(values - np.floor(values) - 0.5)


def transforms(planes, table):
    """Each fold, with planes of its own."""
    for fold in FOLDS:
        copy = planes.copy()
        yield copy, BlockTransform(copy, table.astype(np.float32), fold)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("table", TABLES, ids=["steep", "fine", "ones"])
def test_both_folds_round_as_float64_does_wherever_rounding_is_decided(shape, table):
    matrix = dct_matrix()
    exact_frequencies = np.zeros((8, 8), bool)
    exact_frequencies[::4, ::4] = True
    for picture in pictures(shape):
        planes = picture.astype(np.uint8)
        ratios = matrix.dot(blocks_of(planes)).swapaxes(0, 1).dot(matrix.T) / table
        expected_levels = np.rint(np.round(ratios, 9))
        for found, transform in transforms(planes, table):
            levels = transform.levels()
            decided = (from_half_way(ratios) * table > UNDECIDED) | exact_frequencies
            np.testing.assert_array_equal(levels[decided], expected_levels[decided])
            assert np.abs(levels - expected_levels).max() <= 1
            transform.quantise()
            back = matrix.T.dot((levels * table).astype(float)).swapaxes(0, 1).dot(matrix)
            expected = np.clip(np.rint(np.round(back, 9)), 0, 255)
            exact = ~((levels != 0) & ~exact_frequencies).any(axis=(1, 2), keepdims=True)
            decided = (from_half_way(back) > UNDECIDED) | exact
            pixels = blocks_of(found)
            np.testing.assert_array_equal(pixels[decided], expected[decided])
            assert np.abs(pixels - expected).max() <= 1


def test_few_values_are_undecided():
    planes = np.random.RandomState(1).randint(0, 256, (3, 480, 640)).astype(np.uint8)
    (rows, first), (both, second) = transforms(planes, TABLES[0])
    assert np.count_nonzero(first.levels() != second.levels()) <= 20
    first.quantise()
    second.quantise()
    assert np.count_nonzero(rows != both) <= 1e-3 * planes.size


@pytest.mark.parametrize("fold", FOLDS, ids=NAMES)
def test_the_matrices_are_kron_on_folded_blocks(fold):
    block = np.random.RandomState(0).randint(0, 256, (8, 8)).astype(float)
    rows = [block[:4] + block[:3:-1], block[:4] - block[:3:-1]]
    parts = rows if fold is ROWS else [p for r in rows for p in (r[:, :4] + r[:, :3:-1], r[:, :4] - r[:, :3:-1])]
    found = np.empty((8, 8))
    for (m, n), matrix, part in zip(fold.parts, fold.matrices(), parts):
        found[m, n] = matrix.dot(part.ravel()).reshape(4, -1)
    np.testing.assert_allclose(found.ravel(), block_dct_matrix().dot(block.ravel()), atol=1e-3)


def test_the_fold_depends_on_the_number_of_blocks_alone():
    assert fold_for(BOTH_WAYS_FROM - 1) is ROWS
    assert fold_for(BOTH_WAYS_FROM) is ROWS_AND_COLUMNS


@pytest.mark.parametrize("fold", FOLDS, ids=NAMES)
def test_chunks_cover_all_blocks(fold):
    for rows, columns in ((1, 2 * CHUNK_BLOCKS), (2 * CHUNK_BLOCKS + 1, 1), (7, CHUNK_BLOCKS // 3)):
        planes = np.full((1, rows * 8, columns * 8), 120, np.uint8)
        BlockTransform(planes, np.full((8, 8), 77, np.float32), fold).quantise()
        # 960 / 77 = 12.47 steps; 12 x 77 / 8 = 115.5 is rounded to even
        assert (planes == 116).all()


@pytest.mark.parametrize("side", [32, 104])
def test_without_an_opencv_that_rounds_halves_to_even(side, monkeypatch):
    frame = np.random.RandomState(2).randint(0, 256, (side, side, 3)).astype(np.uint8)
    expected = DefQ(TABLES[0])(frame).copy()
    monkeypatch.setattr(block_transform, "_ROUNDS_HALF_TO_EVEN", False)
    np.testing.assert_array_equal(DefQ(TABLES[0])(frame), expected)
