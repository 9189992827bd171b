"""Which internal classifiers pay.

Every classifier costs multiply-accumulates of frames that do not leave there, and time on a board. Between two blocks with a
classifier nothing has to be decided, so that blocks can be joined. Most networks have more classifiers than they need.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from device.loop.exits import first_confident
from export.calibration.cost import ExitScores, OperatingPoint, StageCosts, rad_threshold

TOLERANCE = 0.01
"""Mean cost that may be lost for having fewer exits, as a share of the cost of the network without internal classifiers."""
LEAST = 3
"""Exits that stay at least: the default split puts three on the device."""
RAD = 5


class ExitChoice(NamedTuple):
    """Internal classifiers to keep.

    exits: the numbers of their blocks, from 1, ascending. costs: relative cost of each of them and of the final classifier.
    point: the threshold of these exits and what it gives on the images that they were chosen on.
    """

    exits: tuple[int, ...]
    costs: list[float]
    point: OperatingPoint


def at_exits(scores: ExitScores, exits: Sequence[int]) -> ExitScores:
    """The scores of a network that keeps the internal classifiers behind some blocks only.

    Args:
        scores: of a network with a classifier behind every block.
        exits: the numbers of these blocks, from 1, ascending.
    """
    rows = [*(number - 1 for number in exits), -1]
    return ExitScores(scores.confidences[rows], scores.classes[rows])


def choose_exits(
    scores: ExitScores,
    labels: np.ndarray,
    costs: StageCosts,
    rad: int = RAD,
    tolerance: float = TOLERANCE,
    least: int = LEAST,
) -> ExitChoice:
    """The fewest internal classifiers that lose nothing, by backward elimination.

    Begin with all of them. In each step leave out the one without which the mean cost of an image is lowest, at the threshold
    of the network with all of them. Of all sets that are met on the way, the smallest is chosen whose mean cost is at most
    ``tolerance`` above the lowest. The threshold is then found anew.

    The threshold is held meanwhile, because a search that finds it anew for every set takes those sets with which it can be low
    by chance: chosen on the hand signs of one half of the calibration photographs, they missed the wanted accuracy by 1.3 points
    on the other half, in the mean of six halvings, and by nothing with the threshold held, at the same cost for the same accuracy.

    Args:
        scores: of calibration images, at every exit.
        labels: int (images,), the true classes.
        costs: of the network with all internal classifiers.
        rad: relative accuracy drop in percent.
        tolerance: mean cost that may be lost, as a share of that of the network without internal classifiers.
        least: number of internal classifiers that stay at least.
    """
    threshold = rad_threshold(scores, labels, costs.relative(), rad).threshold
    bare = sum(costs.blocks) + costs.classifiers[-1]

    def mean_spent(exits: tuple[int, ...]) -> float:
        """In shares of the network without internal classifiers. Relative costs would fall with every useless classifier."""
        left = first_confident(at_exits(scores, exits).confidences, threshold)
        return float(costs.spent(exits)[left].mean()) / bare

    exits = tuple(range(1, len(costs.blocks) + 1))
    met = [(mean_spent(exits), exits)]
    while len(exits) > least:
        without = [tuple(each for each in exits if each != left_out) for left_out in exits]
        exits = min(without, key=mean_spent)
        met.append((mean_spent(exits), exits))
    lowest = min(spent for spent, _ in met)
    chosen = [exits for spent, exits in met if spent <= lowest + tolerance][-1]
    relative = costs.relative(chosen)
    return ExitChoice(chosen, relative, rad_threshold(at_exits(scores, chosen), labels, relative, rad))
