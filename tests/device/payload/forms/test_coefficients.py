"""The payload form of DCT coefficients: their order, and the pixels that come back from them."""

import numpy as np
import pytest

from device.defence.block_transform import dct_matrix
from device.defence.defq import ZIGZAG, DefQ
from device.payload.base import Sendable
from device.payload.forms.coefficients import Coefficients, packed_coefficients, steps_of


def test_zigzag_is_that_of_jpeg():
    assert ZIGZAG[:10].tolist() == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]
    assert ZIGZAG[-3:].tolist() == [55, 62, 63]
    assert sorted(ZIGZAG) == list(range(64))


def unpacked(coefficients, steps, channels, height, width):
    """DefQ's pixels from what is sent, before they are rounded and clipped: float64 (channels, height, width)."""
    rows, columns = -(-height // 8), -(-width // 8)
    lines = np.empty((64, channels, rows * columns), np.int64)
    lines[ZIGZAG] = coefficients[0].reshape(64, channels, -1)
    levels = (np.cumsum(lines, axis=1) + 128) % 256 - 128
    levels[0] += int(np.rint(1024 / steps[0, 0]))
    blocks = levels.transpose(1, 2, 0).reshape(-1, 8, 8) * steps.reshape(8, 8).astype(float)
    pixels = np.dot(np.dot(blocks.swapaxes(1, 2), dct_matrix()).swapaxes(1, 2), dct_matrix())
    planes = pixels.reshape(channels, rows, columns, 8, 8).swapaxes(2, 3).reshape(channels, rows * 8, columns * 8)
    return planes[:, :height, :width]


@pytest.mark.parametrize("shape", [(16, 16, 3), (13, 21, 3), (8, 8, 1), (40, 3, 3)])
@pytest.mark.parametrize("first", [9, 20])
def test_pixels_come_back_from_coefficients(shape, first):
    table = np.add.outer(np.arange(8), np.arange(8)).astype(np.float32) * 2 + first
    defq = DefQ(table)
    random = np.random.RandomState(0)
    frames = [random.randint(0, 256, shape).astype(np.uint8) for _ in range(20)]
    # black beside white in one colour, the other way round in the next: differences that wrap
    frames += [np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)]
    frames += [np.broadcast_to(np.array([255, 0, 255][: shape[2]], np.uint8), shape).copy()]
    for frame in frames:
        packed = packed_coefficients(defq.levels(frame), shape[2], steps_of(table))
        assert (packed.dtype, packed.shape) == (np.int8, (1, 64, shape[2] * -(-shape[0] // 8) * -(-shape[1] // 8)))
        found = unpacked(packed, steps_of(table), shape[2], shape[0], shape[1])
        apart = np.abs(np.clip(np.rint(np.round(found, 9)), 0, 255) - defq.planes(frame))
        undecided = np.abs(found - np.floor(found) - 0.5) < 1e-3  # float32 may round them either way
        assert (apart <= undecided).all()


def test_what_does_not_fit_a_byte_is_not_sent_as_coefficients():
    fine = np.full((8, 8), 8, np.float32)  # black is -1024 / 8 = -128
    black = np.zeros((16, 16, 3), np.uint8)
    assert packed_coefficients(DefQ(fine).levels(black), 3, steps_of(fine)) is None
    for frame in (black, black + 255):
        assert packed_coefficients(DefQ(fine + 1).levels(frame), 3, steps_of(fine + 1)) is not None
    assert steps_of(np.full((8, 8), 20.5, np.float32)) is None
    assert steps_of(np.full((8, 8), 256, np.float32)) is None


def test_coefficients_are_of_the_frames_own_table(bundle, frames, activation):
    form = Coefficients(bundle)
    for step in (30, 40, 30):
        table = np.full((8, 8), step, np.float32)
        tensors = form.tensors(Sendable(activation, frames[0], table))
        assert tensors["steps"].tolist() == [[step] * 64]
        expected = packed_coefficients(DefQ(table).levels(frames[0]), 3, steps_of(table))
        np.testing.assert_array_equal(tensors["coefficients"], expected)
