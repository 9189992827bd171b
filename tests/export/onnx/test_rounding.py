"""Pixels that float32 may round either way, and the check that allows no others to differ."""

import numpy as np
import pytest

from device.defence.defq import DefQ
from device.errors import DataError
from export.onnx.parity import compare_pixels
from export.onnx.rounding import undecided

TABLE = np.full((8, 8), 20)


def test_few_pixels_of_noise_are_undecided():
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    found = undecided(frame, TABLE)
    assert found.coefficients.shape == found.pixels.shape == (3, 64, 64)
    assert found.coefficients.mean() < 0.05
    assert 0 < found.pixels.mean() < 0.02


def test_flat_blocks_are_decided():
    frame = np.arange(0, 250, 5, dtype=np.uint8).repeat(8)[None].repeat(8, axis=0)[:, :, None]
    found = undecided(frame, TABLE)
    assert not found.coefficients.any()
    assert not found.pixels.any()


def test_only_what_rounding_explains_may_differ():
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    planes = DefQ(TABLE).planes(frame).copy()
    pixels = undecided(frame, TABLE).pixels
    assert pixels.any()

    def differing(where: np.ndarray, levels: int) -> list[np.ndarray]:
        away = np.where(planes > 128, -levels, levels) * where
        return [((planes + away) / 255).astype(np.float32)]

    compare_pixels("DefQ", differing(pixels, 1), [planes], [frame], TABLE, "frames")
    with pytest.raises(DataError, match=rf"in {pixels.sum()} of 12288 pixels that .* by up to 2 levels"):
        compare_pixels("DefQ", differing(pixels, 2), [planes], [frame], TABLE, "frames")
    one = np.zeros_like(pixels)
    one.flat[np.flatnonzero(~pixels & ~undecided(frame, TABLE).coefficients)[0]] = True
    with pytest.raises(DataError, match="in 1 of 12288 pixels that .* by up to 1 levels"):
        compare_pixels("DefQ", differing(one, 1), [planes], [frame], TABLE, "frames")


def test_a_block_with_an_undecided_coefficient_may_differ_as_a_whole():
    frame = np.zeros((8, 16, 1), np.uint8)
    for seed in range(2000):
        frame[:, :8, 0] = np.random.default_rng(seed).integers(0, 256, (8, 8))
        found = undecided(frame, TABLE)
        if found.coefficients.any():
            break
    assert found.coefficients[:, :, :8].all()
    assert not found.coefficients[:, :, 8:].any()
    planes = DefQ(TABLE).planes(frame).copy()
    other = ((planes + np.where(planes > 128, -5, 5) * found.coefficients) / 255).astype(np.float32)
    compare_pixels("DefQ", [other], [planes], [frame], TABLE, "frames")
