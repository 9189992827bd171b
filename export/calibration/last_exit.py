"""The last exit: a network that ends at an earlier exit than its final classifier.

Shallow-Deep Networks overthink (Kaya et al. 2019): their final classifier is hardly more accurate than some of the exits
before it. A slow-down attack nevertheless sends every frame to the final classifier. In a network that ends at an earlier
exit, every frame leaves there at the latest, whatever its confidence. Clean frames lose very little accuracy, and no attack
can make a frame cost more. The bound neither keeps frames on the device nor makes their answers right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from device.loop.exits import efcy
from export.calibration.cost import ExitScores, OperatingPoint, early_exit, operating_point

LOSS = {5: 0.011, 10: 0.009}
"""Accuracy that clean calibration images may lose to the last exit, for each RAD in percent (found in reports/README.md)."""


@dataclass(frozen=True, slots=True)
class LastExit:
    """The exit at which a shortened network ends, for one RAD, and what that gives on calibration images.

    Args:
        exit: from 1.
        relative_cost: the highest cost of a frame.
        least_efcy: EFCY where no frame leaves before this exit; no attack gets it lower.
        thresholds: for each RAD in percent what its threshold gives.
    """

    exit: int
    relative_cost: float
    least_efcy: float
    thresholds: Mapping[int, OperatingPoint]

    def as_json(self) -> dict[str, Any]:
        return {
            "exit": self.exit,
            "relative_cost": self.relative_cost,
            "least_efcy": self.least_efcy,
            "thresholds": {str(rad): point._asdict() for rad, point in self.thresholds.items()},
        }


def up_to(scores: ExitScores, last: int) -> ExitScores:
    """The scores of a network that ends at exit ``last``, from 1, which answers for every image that has not left before."""
    return ExitScores(scores.confidences[:last], scores.classes[:last])


def earliest_last_exit(scores: ExitScores, labels: np.ndarray, threshold: float, rad: int) -> int:
    """The earliest exit, from 1, at which a network can end so that images lose at most LOSS of their accuracy. It is at least
    exit 2, so that the device and the host have one exit each.

    Args:
        scores: of clean calibration images.
        labels: int (images,), the true classes.
        threshold: the threshold for ``rad``.
        rad: relative accuracy drop in percent.
    """

    def accuracy(seen: ExitScores) -> float:
        return float((early_exit(seen, threshold)[1] == labels).mean())

    least = accuracy(scores) - LOSS[rad]
    exits = range(2, len(scores.confidences))
    return next((last for last in exits if accuracy(up_to(scores, last)) >= least), len(scores.confidences))


def measured_last_exits(
    scores: ExitScores, labels: np.ndarray, costs: list[float], thresholds: Mapping[int, float]
) -> dict[int, LastExit]:
    """The last exit for each RAD in ``thresholds``, with what it gives on calibration images.

    Args:
        scores: of clean calibration images.
        labels: int (images,).
        costs: relative cost of every exit.
        thresholds: for each RAD in percent.
    """
    return {rad: _measured(rad, scores, labels, costs, thresholds) for rad in thresholds}


def _measured(
    rad: int, scores: ExitScores, labels: np.ndarray, costs: list[float], thresholds: Mapping[int, float]
) -> LastExit:
    last = earliest_last_exit(scores, labels, thresholds[rad], rad)
    seen = up_to(scores, last)
    points = {each: operating_point(seen, labels, costs[:last], value) for each, value in thresholds.items()}
    return LastExit(
        last,
        round(costs[last - 1], 4),
        round(efcy([last - 1], costs[:last]), 4),
        {each: point.rounded() for each, point in points.items()},
    )
