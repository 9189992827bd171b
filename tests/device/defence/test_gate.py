"""The gate: the noise level of a frame, and the stage that it belongs to."""

import numpy as np
import pytest

from device.defence.gate import Gate, GateStage, noise_level


def by_the_book(frame):
    """One block and one frequency at a time, in float64."""
    difference = frame[:, :, 0].astype(float) - frame[:, :, 1]
    scale = [np.sqrt(1 / 8)] + [np.sqrt(2 / 8)] * 7
    basis = [[scale[m] * np.cos((2 * x + 1) * m * np.pi / 16) for x in range(8)] for m in range(8)]
    levels = []
    for top in range(0, frame.shape[0] - 7, 8):
        for left in range(0, frame.shape[1] - 7, 8):
            block = difference[top : top + 8, left : left + 8]
            levels += [abs((block * np.outer(basis[m], basis[n])).sum()) for m in range(4, 8) for n in range(4, 8)]
    return sorted(levels)[len(levels) // 2]


def noise(*shape):
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def smooth(height, width):
    """Colours that change slowly, from 40 to 215."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 60 * np.sin(x / 9.0 + c) + 27 * np.cos(y / (5.0 + c)) for c in range(3)]
    return np.stack(waves, 2).astype(np.uint8)


SHAPES = [(8, 8, 3), (16, 16, 3), (32, 32, 3), (64, 48, 3), (48, 64, 3), (13, 21, 3), (39, 8, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_book(shape):
    for frame in (noise(*shape), smooth(*shape[:2]), np.asfortranarray(noise(*shape))):
        assert noise_level(frame) == pytest.approx(by_the_book(frame), rel=1e-4, abs=1e-3)
    assert noise_level(noise(*shape)) > 10


@pytest.mark.parametrize("shape", [(7, 32, 3), (32, 7, 3), (1, 1, 3), (32, 32, 1), (32, 32), (32, 32, 4)])
def test_small_frames_and_frames_without_colour_are_not_noisy(shape):
    assert noise_level(noise(*shape)) == 0


def test_grey_frames_of_three_channels_are_not_noisy():
    for shape in SHAPES:
        assert noise_level(noise(*shape[:2], 1).repeat(3, axis=2)) == 0


def test_only_noise_of_its_own_in_every_channel_counts():
    clean = smooth(64, 48)
    change = np.random.RandomState(1).randint(-8, 9, clean.shape)
    alike, apart = clean + change[:, :, :1], clean + change
    assert min(alike.min(), apart.min()) >= 0  # nothing is cut off
    assert max(alike.max(), apart.max()) <= 255
    level = noise_level(clean)
    assert noise_level(alike.astype(np.uint8)) == pytest.approx(level, abs=1e-4)
    assert noise_level(apart.astype(np.uint8)) > level + 3


def test_rows_and_columns_beyond_the_last_whole_block_do_not_count():
    frame = smooth(39, 21)
    spoilt = frame.copy()
    spoilt[32:], spoilt[:, 16:] = noise(7, 21, 3), noise(39, 5, 3)
    assert noise_level(spoilt) == noise_level(frame) == noise_level(frame[:32, :16])


def test_frames_at_the_level_are_found():
    frame = noise(32, 32, 3)
    level = noise_level(frame)
    table = np.full((8, 8), 30.0)
    assert Gate([GateStage(level, {5: 0.5}, table)]).stage_for(frame) is not None
    assert Gate([GateStage(level + 0.001, {5: 0.5}, table)]).stage_for(frame) is None


def test_a_frame_belongs_to_the_highest_stage_that_it_reaches():
    frame = noise(32, 32, 3)
    level, table = noise_level(frame), np.full((8, 8), 30.0)
    above, at, below = (GateStage(level + more, {5: 0.5}, table) for more in (0.1, 0.0, -0.1))
    assert Gate([above, at, below]).stage_for(frame) is at
    assert Gate([above, below]).stage_for(frame) is below
    assert Gate([above]).stage_for(frame) is None
