"""Which internal classifiers pay.

Every classifier costs multiply-accumulates of frames that do not leave there, and time on a board. Between two blocks with a
classifier nothing has to be decided, so that blocks can be joined. Most networks have more classifiers than they need.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from export.calibration.cost import ExitScores, OperatingPoint, StageCosts, rad_threshold

TOLERANCE = 0.01
"""Mean cost that may be lost for having fewer exits, as a share of the cost of the network without internal classifiers."""
LEAST = 3
"""Exits that stay at least: the default split puts three on the device."""
RAD = 5
GRID = np.round(np.arange(0.2, 1.0001, 0.02), 2)
"""Thresholds to try; coarser than the grid of a model card, since it is searched a hundred times."""


class ExitChoice(NamedTuple):
    """Internal classifiers to keep.

    exits: the numbers of their blocks, from 1, ascending. costs: relative cost of each of them and of the final classifier.
    point: the threshold and what it gives on the images that they were chosen on. mean_spent: multiply-accumulates of an image
    in the mean, as a share of those of the network without internal classifiers. Unlike the relative cost it does not become
    lower where further classifiers make the whole network dearer.
    """

    exits: tuple[int, ...]
    costs: list[float]
    point: OperatingPoint
    mean_spent: float


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

    Begin with all of them. In each step leave out the one without which the cost of images at ``rad`` is lowest in the mean,
    where the threshold is found anew for the remaining exits. Of all sets that are met on the way, the smallest is chosen whose
    mean cost is at most ``tolerance`` above the lowest.

    Args:
        scores: of calibration images, at every exit.
        labels: int (images,), the true classes.
        costs: of the network with all internal classifiers.
        rad: relative accuracy drop in percent.
        tolerance: mean cost that may be lost, as a share of that of the network without internal classifiers.
        least: number of internal classifiers that stay at least.
    """

    def choice(exits: tuple[int, ...]) -> ExitChoice:
        relative = costs.relative(exits)
        point = rad_threshold(at_exits(scores, exits), labels, relative, rad, GRID)
        return ExitChoice(exits, relative, point, point.mean_cost * float(costs.spent(exits)[-1]) / bare)

    bare = sum(costs.blocks) + costs.classifiers[-1]

    met = [choice(tuple(range(1, len(costs.blocks) + 1)))]
    while len(met[-1].exits) > least:
        exits = met[-1].exits
        rest = [choice(tuple(each for each in exits if each != left_out)) for left_out in exits]
        met.append(min(rest, key=lambda each: each.mean_spent))
    lowest = min(each.mean_spent for each in met)
    return [each for each in met if each.mean_spent <= lowest + tolerance][-1]
