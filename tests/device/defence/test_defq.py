"""DefQ in NumPy against the formula of the paper, for frames of every shape."""

import numpy as np
import pytest

from device.defence.block_transform import block_dct_matrix, dct_matrix
from device.defence.defq import DefQ, check_table
from device.errors import DataError, FrameError

TABLE = np.add.outer(np.arange(8), np.arange(8)) * 3 + 20


def textbook(frame, table):
    """DefQ by the book: one block, one frequency, one pixel at a time, in float64."""
    height, width = frame.shape[:2]
    padded = np.pad(frame, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge").astype(float)
    out = np.empty_like(padded)
    scale = [np.sqrt(1 / 8)] + [np.sqrt(2 / 8)] * 7
    basis = [[scale[m] * np.cos((2 * x + 1) * m * np.pi / 16) for x in range(8)] for m in range(8)]
    for channel in range(frame.shape[2]):
        for top in range(0, padded.shape[0], 8):
            for left in range(0, padded.shape[1], 8):
                block = padded[top : top + 8, left : left + 8, channel]
                back = np.zeros((8, 8))
                for m in range(8):
                    for n in range(8):
                        wave = np.outer(basis[m], basis[n])
                        coefficient = round(float((block * wave).sum()), 6)  # exact ties stay ties
                        back += np.rint(coefficient / table[m, n]) * table[m, n] * wave
                out[top : top + 8, left : left + 8, channel] = np.clip(np.rint(np.round(back, 6)), 0, 255)
    return out[:height, :width].astype(np.uint8)


def noise(*shape):
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def smooth(height, width):
    y, x = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(x / 9.0 + c) + 40 * np.cos(y / (5.0 + c)) for c in range(3)]
    return np.clip(np.stack(waves, 2), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("frame", [noise(32, 32, 3), smooth(40, 24), noise(13, 21, 3), smooth(7, 50), noise(1, 1, 3)])
def test_equals_the_textbook(frame):
    np.testing.assert_array_equal(DefQ(TABLE)(frame), textbook(frame, TABLE))


def test_ties_round_to_even():
    # DC = 8 x value; with a step of 20, values 5 k / 4 lie half-way for odd k: 8 x 7.5 = 60 = 3 x 20, 8 x 11.25 = 90
    table = np.full((8, 8), 20)
    blocks = np.repeat(np.arange(0, 250, 5, dtype=np.uint8), 8)[None].repeat(8, axis=0)[:, :, None]
    np.testing.assert_array_equal(DefQ(table)(blocks), textbook(blocks, table))


@pytest.mark.parametrize("shape", [(16, 24), (16, 24, 1), (15, 9), (15, 9, 1)])
def test_grey_frames_keep_their_shape(shape):
    frame = noise(*shape)
    out = DefQ(TABLE)(frame)
    assert out.shape == shape
    np.testing.assert_array_equal(out.reshape(shape[:2] + (1,)), textbook(frame.reshape(shape[:2] + (1,)), TABLE))


def test_large_frames_in_chunks_equal_their_parts():
    frame = smooth(480, 640)
    whole = DefQ(TABLE)(frame).copy()
    part = DefQ(TABLE)(np.ascontiguousarray(frame[128:208, 320:400]))
    np.testing.assert_array_equal(whole[128:208, 320:400], part)


def test_planes_are_the_frame_and_buffers_follow_the_shape():
    defq = DefQ(TABLE)
    for shape in ((32, 32, 3), (20, 12, 3), (32, 32, 3)):
        frame = noise(*shape)
        expected = defq(frame).copy()
        np.testing.assert_array_equal(defq.planes(frame).transpose(1, 2, 0), expected)


def test_a_step_of_one_changes_pixels_by_rounding_alone():
    frame = smooth(64, 64)
    assert np.abs(DefQ(np.ones((8, 8)))(frame).astype(int) - frame).max() <= 1


def test_black_and_white_stay():
    for value in (0, 255):
        frame = np.full((32, 32, 3), value, np.uint8)
        assert np.abs(DefQ(TABLE)(frame).astype(int) - value).max() <= 10 / 8 + 1


def test_matrices_are_orthonormal():
    np.testing.assert_allclose(dct_matrix() @ dct_matrix().T, np.eye(8), atol=1e-12)
    matrix = block_dct_matrix()
    assert matrix.dtype == np.float32
    # exact: flat blocks, and whatever else has no other frequencies, tie exactly
    assert (np.abs(matrix.reshape(8, 8, 64)[::4, ::4]) == 0.125).all()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(64), atol=1e-6)


@pytest.mark.parametrize(
    "frame",
    [np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 2), np.uint8), np.zeros(8, np.uint8), np.zeros((8, 8, 3), np.float32),
     np.full((8, 8, 3), np.nan), np.zeros((0, 8, 3), np.uint8)],
)  # fmt: skip
def test_frames_that_cannot_be_used(frame):
    with pytest.raises(FrameError, match="found a frame of type .* expected uint8"):
        DefQ(TABLE)(frame)


@pytest.mark.parametrize(
    "table",
    [
        np.ones((8, 7)),
        np.zeros((8, 8)),
        np.full((8, 8), np.nan),
        np.full((8, 8), -3),
        np.array([["a"] * 8] * 8),
        np.full((8, 8), 1e6),
    ],
)
def test_tables_that_cannot_be_used(table):
    with pytest.raises(DataError, match="found .*expected"):
        check_table(table)
