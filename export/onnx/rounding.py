"""Which pixels of DefQ float32 may round either way (device/defence/defq.py). Two forms of DefQ may differ there and nowhere else."""

from typing import NamedTuple

import numpy as np

from device.defence.block_transform import BLOCK, dct_matrix

UNDECIDED = 1e-3
"""Distance to half way, in units of pixels 0..255, up to which float32 may decide either way. The sums of products in float32
cannot be wrong by more than 0.008. On random pictures none of the
forms was wrong by more than 0.0003."""


class Undecided(NamedTuple):
    """Both bool (channels, height, width)."""

    coefficients: np.ndarray
    """Pixels of blocks with an undecided coefficient. They may differ by any number of levels."""
    pixels: np.ndarray
    """Pixels of other blocks that are undecided themselves. They may differ by one level."""


def undecided(frame: np.ndarray, table: np.ndarray) -> Undecided:
    """What float32 may round either way, from DefQ in float64.

    Args:
        frame: uint8 (height, width, channels).
        table: Q_def, numbers (8, 8).
    """
    height, width, channels = frame.shape
    padded = np.pad(frame, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), "edge").transpose(2, 0, 1)
    blocks = padded.reshape(channels, padded.shape[1] // BLOCK, BLOCK, -1, BLOCK).swapaxes(2, 3).astype(np.float64)
    matrix, steps = dct_matrix(), np.asarray(table, np.float64)
    ratios = matrix @ blocks @ matrix.T / steps
    inexact = np.ones((BLOCK, BLOCK), bool)
    inexact[::4, ::4] = False  # products with 1/8 and -1/8 are exact
    close = (_from_half_way(ratios) * steps < UNDECIDED) & inexact
    levels = np.rint(np.round(ratios, 9))
    back = matrix.T @ (levels * steps) @ matrix
    exact = ~((levels != 0) & inexact).any(axis=(-2, -1), keepdims=True)
    whole_blocks = np.asarray(close.any(axis=(-2, -1), keepdims=True))
    pixels: np.ndarray = (_from_half_way(back) < UNDECIDED) & ~exact & ~whole_blocks

    def as_planes(of_blocks: np.ndarray) -> np.ndarray:
        full = np.broadcast_to(of_blocks, blocks.shape).swapaxes(2, 3).reshape(padded.shape)
        return full[:, :height, :width]

    return Undecided(as_planes(whole_blocks), as_planes(pixels))


def _from_half_way(values: np.ndarray) -> np.ndarray:
    """The distance of each value to the nearest of ..., -0.5, 0.5, 1.5, ..."""
    distance: np.ndarray = np.abs(values - np.floor(values) - 0.5)
    return distance
