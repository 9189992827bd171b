"""The noise gate: only frames whose colour noise reaches a calibrated level are quantised.

Attacks change each colour channel in its own way, while fine detail of clean frames is nearly the same in all channels. The
noise level of a frame is therefore computed from the difference of red and green: it is the median of the absolute DCT
coefficients over all 8 x 8 blocks and the 16 highest frequencies. The gate is our own addition to DefQ, and is measured in
reports/. An attacker who knows it can change all channels alike and is not found.
"""

from typing import Dict, List, NamedTuple, Optional

import numpy as np

from device.defence.block_transform import BLOCK, dct_matrix

HIGH = 4  # the lowest of the high frequencies, in both directions


class GateStage(NamedTuple):
    """From which noise level a frame counts as attacked, and what is done to it then."""

    level: float
    """Of ``noise_level``, from which a frame belongs to this stage."""
    thresholds: Dict[int, float]
    """For such frames: relative accuracy drop in percent -> threshold in [0, 1]."""
    table: np.ndarray
    """For such frames instead of Q_def, float32 (8, 8)."""


class Gate(NamedTuple):
    """Which frames count as attacked: those whose noise reaches the level of a stage."""

    stages: List[GateStage]
    """At least one, from the highest level to the lowest. Lower levels are for weaker attacks, with gentler settings."""

    def stage_for(self, frame: np.ndarray) -> Optional[GateStage]:
        """The stage that a frame belongs to, the one with the highest level; None for a frame that does not count as attacked.

        Args:
            frame: uint8 (height, width, channels) of the network's size.
        """
        noise = noise_level(frame)
        for stage in self.stages:
            if noise >= stage.level:
                return stage
        return None


def high_frequency_matrix() -> np.ndarray:
    """The rows of kron(D, D) for the 16 highest frequencies as columns, float32 (64, 16): coefficients = blocks @ matrix."""
    high = dct_matrix()[HIGH:]
    return np.ascontiguousarray(np.kron(high, high).T.astype(np.float32))


_HIGH = high_frequency_matrix()


def noise_level(frame: np.ndarray) -> float:
    """The noise level of a frame, in units of pixels 0..255.

    Args:
        frame: uint8 (height, width, 3), RGB. Rows and columns beyond the last whole block are left out.

    Returns:
        0.0 for frames without colour and for frames smaller than a block. A clean CIFAR-10 image has about 0.4, an attacked
        one about 2.

    Example:
        >>> noise_level(np.full((32, 32, 3), 90, np.uint8))
        0.0
    """
    if frame.ndim != 3 or frame.shape[2] != 3:
        return 0.0
    rows, columns = frame.shape[0] // BLOCK, frame.shape[1] // BLOCK
    if not rows or not columns:
        return 0.0
    whole = frame[: rows * BLOCK, : columns * BLOCK]
    difference = whole[:, :, 0].astype(np.float32) - whole[:, :, 1]
    blocks = difference.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK * BLOCK)
    levels = np.abs(np.dot(blocks, _HIGH)).ravel()
    middle = levels.size // 2
    return float(np.partition(levels, middle)[middle])  # the median at a tenth of the cost of np.median
