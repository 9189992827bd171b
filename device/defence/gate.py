"""The noise gate: is a frame noisier than clean frames are? Only then it is quantised.

Attacks change the colour channels apart from one another, while in clean frames fine detail is nearly the same in all of
them. So the level is the median, over the 8 x 8 blocks of a frame and its 16 highest frequencies, of the DCT
coefficients of red minus green. It is our own addition to DefQ, measured in reports/; an attacker who knows of it can
change all channels alike and pass unseen.
"""

from typing import Dict, List, NamedTuple, Optional

import numpy as np

from device.defence.defq import BLOCK, dct_matrix

HIGH = 4  # frequencies from 4 on, in both directions


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
    """Rows of kron(D, D) for the 16 highest frequencies, float32 (64, 16), to be multiplied from the right."""
    high = dct_matrix()[HIGH:]
    return np.ascontiguousarray(np.kron(high, high).T.astype(np.float32))


_HIGH = high_frequency_matrix()


def noise_level(frame: np.ndarray) -> float:
    """Level of fine red-green noise, in units of pixels 0..255.

    Args:
        frame: uint8 (height, width, 3), RGB. Rows and columns beyond the last whole block do not count.

    Returns:
        0.0 for frames without colour, or smaller than a block; about 0.4 for a clean CIFAR-10 image, 2 for an attacked one.

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
