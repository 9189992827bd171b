"""Cumulative sums of log-likelihood ratios (CUSUM; Page, "Continuous inspection schemes", Biometrika 1954), and their limits.

The limits follow from a mean number of frames between two false alarms, by the Markov chain of Brook and Evans ("An approach to the
probability distribution of CUSUM run length", Biometrika 1972).
"""

import numpy as np

CELLS = 150  # states of the chain; with more of them the limit changes by less than 2 %


class Cusum:
    """Tells when frames begin to leave with other shares than usual.

    Args:
        ratios: log-likelihood ratio of each exit between the other shares and the usual ones, float64 (bins,).
        usual: the usual shares, float64 (bins,) with a sum of 1.
        frames: mean number of usual frames between two false alarms.
    """

    def __init__(self, ratios: np.ndarray, usual: np.ndarray, frames: int) -> None:
        self._ratios = ratios.tolist()
        self._limit = cusum_limit(ratios, usual, frames)
        self._sum = 0.0

    def see(self, bin_: int) -> bool:
        """Take one frame. True where the sum reaches the limit; it then begins anew."""
        self._sum = max(0.0, self._sum + self._ratios[bin_])
        if self._sum < self._limit:
            return False
        self.reset()
        return True

    def reset(self) -> None:
        """Forget all frames."""
        self._sum = 0.0


def cusum_limit(ratios: np.ndarray, shares: np.ndarray, frames: int) -> float:
    """The limit that the sum reaches after ``frames`` frames on average while frames leave with the given shares.

    Args:
        ratios: log-likelihood ratio of each exit, float64 (bins,).
        shares: probability of each exit, float64 (bins,).

    Returns:
        Infinity where no exit supports the hypothesis: the test then stays silent.
    """
    if ratios.max() <= 1e-9:
        return float("inf")
    low, high = 0.0, float(ratios.max())
    while mean_run_length(ratios, shares, high) < frames:
        low, high = high, 2 * high
        if high > 1e3:
            return float("inf")
    for _ in range(12):
        middle = (low + high) / 2
        if mean_run_length(ratios, shares, middle) < frames:
            low = middle
        else:
            high = middle
    return high


def mean_run_length(ratios: np.ndarray, shares: np.ndarray, limit: float) -> float:
    """Mean number of frames until the sum, which starts at 0, reaches ``limit``."""
    width = limit / CELLS
    states = np.arange(CELLS) * width
    chain = np.eye(CELLS)
    for ratio, share in zip(ratios, shares):
        landed = np.maximum(states + ratio, 0.0) / width
        below = np.floor(landed).astype(np.int64)
        above_share = (
            landed - below
        )  # it is shared between two cells, as rounding to one of them would change the drift of the sum
        for cells, part in ((below, 1 - above_share), (below + 1, above_share)):
            stays = cells < CELLS
            np.subtract.at(chain, (np.flatnonzero(stays), cells[stays]), share * part[stays])
    run_lengths: np.ndarray = np.linalg.solve(chain, np.ones(CELLS))
    return float(run_lengths[0])
