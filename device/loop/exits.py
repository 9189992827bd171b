"""Early exits in numbers: at which exits frames leave, and what that costs. The device and the evaluation share this module.

Definitions: Kaya et al. 2019 (exit rule), Hong et al. 2021 (EFCY). Exits are numbered from 1 in text and output.
"""

from typing import Sequence, Union

import numpy as np

Exits = Union[Sequence[int], np.ndarray]


def first_confident(confidences: np.ndarray, threshold: Union[float, np.ndarray]) -> np.ndarray:
    """The exit at which each frame leaves: the first whose confidence reaches ``threshold``, or else the last.

    Args:
        confidences: float (exits, frames), the maximum of the softmax at every exit, final classifier last.
        threshold: in [0, 1]; one number for all frames, or float (frames,).

    Returns:
        int64 (frames,), 0-based.
    """
    confident = confidences >= threshold
    confident[-1] = True
    exits: np.ndarray = np.argmax(confident, axis=0)
    return exits


def exit_histogram(exits: Exits, count: int) -> np.ndarray:
    """Number of frames that left at each of ``count`` exits, int64 (count,). ``exits``: int (frames,), 0-based."""
    histogram: np.ndarray = np.bincount(np.asarray(exits, dtype=np.int64), minlength=count)
    return histogram


def t3_er(exits: Exits) -> float:
    """T3-ER: share of frames that leave at exits 1 to 3. ``exits``: int (frames,), 0-based, at least one frame."""
    return float(np.mean(np.asarray(exits) < 3))


def efcy(exits: Exits, relative_costs: Sequence[float]) -> float:
    """EFCY: area under (relative cost, cumulative share of frames that have left), from (0, 0) to (1, 1).

    Args:
        exits: int (frames,), 0-based, at least one frame.
        relative_costs: float (exits,), ascending. The last is 1.0, or less where the network ends before its final classifier.

    Example:
        >>> efcy([0, 0, 1, 1], [0.5, 1.0])   # half of the frames leave at half of the cost
        0.5
    """
    return efcy_of(exit_histogram(exits, len(relative_costs)), relative_costs)


def efcy_of(histogram: np.ndarray, relative_costs: Sequence[float]) -> float:
    """EFCY from the number of frames that left at each exit, int (exits,), with at least one frame."""
    share = np.concatenate([[0.0], np.cumsum(histogram) / histogram.sum(), [1.0]])
    cost = np.concatenate([[0.0], np.asarray(relative_costs, dtype=np.float64), [1.0]])
    return float(np.sum(np.diff(cost) * (share[1:] + share[:-1]) / 2))
