"""Where a network is cut into head and tail, when nothing is known of the board, the host and the link between them.

``defq plan`` knows them and answers better. This is the split of a bundle for which nobody has measured anything.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from export.calibration.card import ModelCard
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES

PAPER = 3
"""Exits on the device in the paper."""
SENDING = 1.0
"""What a frame costs that is sent to the host, as a share of the cost of the whole network on the device."""
LARGEST_HEAD = 0.5
"""Highest relative cost of the last exit on the device: a head that is as large as the whole network needs no host."""


class SplitChoice(NamedTuple):
    """The number of exits on the device, and why, in words."""

    split: int
    reason: str

    def told(self) -> str:
        return f"split {self.split}, {self.reason}; another with --split"


def usual_split(card: ModelCard, rad: int, last_exit: bool = False) -> SplitChoice:
    """The split of a bundle for which the user names none.

    Networks of CIFAR-10 get the paper's, so that their figures compare with it, and so do networks whose card does not say where
    images leave. All others get that of ``choose_split``.

    Args:
        rad: relative accuracy drop, in percent, that the bundle uses.
        last_exit: whether its network ends at its last exit for ``rad``.
    """
    most = len(card.relative_costs) - 1
    if last_exit and rad in card.last_exits:
        most = min(most, card.last_exits[rad].exit - 1)
    shares = card.shares.get(rad)
    if shares is None or card.classes == CIFAR10_CLASSES:
        split = min(PAPER, most)
        if split < PAPER:
            return SplitChoice(split, "all of its exits but the final one")
        what = "of CIFAR-10" if card.classes == CIFAR10_CLASSES else "whose card does not say where images leave"
        return SplitChoice(split, f"as in the paper, for a network {what}")
    split = min(choose_split(shares, card.relative_costs), most)
    there, cost = sum(shares[:split]), card.relative_costs[split - 1]
    return SplitChoice(
        split,
        f"because {there:.0%} of the calibration images leave up to there, for at most {cost:.0%} of the network's cost, and one more "
        "exit on the device, or one fewer, would cost more (export/calibration/split_choice.py)",
    )


def choose_split(
    shares: Sequence[float], costs: Sequence[float], sending: float = SENDING, largest_head: float = LARGEST_HEAD
) -> int:
    """The number of exits on the device for which the mean cost of a frame is lowest.

    A frame costs what the device computes for it, up to the last exit of the head, and ``sending`` if it does not leave
    there. One more exit on the device therefore pays where the share of frames that leave there, among those that come so
    far, is above its own cost divided by ``sending``.

    Args:
        shares: share of calibration images that leave at each exit, the final classifier last.
        costs: relative cost of each exit, ascending, the last 1.0.
        sending: cost of a frame that is sent to the host, in costs of the whole network.
        largest_head: highest relative cost of the last exit on the device.

    Returns:
        1 to the number of internal classifiers. 1 where already the first exit costs more than ``largest_head``.
    """
    left = np.cumsum(shares)[:-1]
    spent = np.asarray(costs)[:-1]
    # up to exit k: what those cost that have left, and what all others cost up to there
    device = np.cumsum(np.asarray(shares)[:-1] * spent) + (1 - left) * spent
    means = np.where(spent <= largest_head, device + (1 - left) * sending, np.inf)
    return int(means.round(9).argmin()) + 1  # of splits that are equal up to rounding the smallest head
