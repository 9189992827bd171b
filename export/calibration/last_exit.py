"""The last exit: a frame that has not left by then leaves there, however unsure.

Shallow-Deep Networks overthink (Kaya et al. 2019): their final classifier is hardly more accurate than some exits before it,
and yet that is where a slow-down attack sends every frame. A network that ends at an earlier exit costs clean frames next to
nothing and bounds what any attacker can make of a frame, whatever they know. What the bound does not do: keep frames on
the device, or make answers right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from device.loop.exits import efcy
from export.calibration.cost import ExitScores, OperatingPoint, early_exit, operating_point
from export.networks.sdn import SDN

LOSS = {5: 0.011, 10: 0.009}
"""Accuracy that clean calibration images may lose to it at each RAD: what reports/README.md found to be needed there."""


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
    """Scores of the first ``last`` exits alone: the last of them answers for every image that is left."""
    return ExitScores(scores.confidences[:last], scores.classes[:last])


def earliest_last_exit(scores: ExitScores, labels: np.ndarray, threshold: float, rad: int) -> int:
    """The first exit, from 1, at which all images may be made to leave: they lose at most LOSS of their accuracy by it.
    Not exit 1, so that a device and a host still have one each.

    Args:
        scores: of clean calibration images.
        labels: int (images,).
        threshold: that of ``rad``.
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


def ending_at(network: SDN, last: int) -> SDN:
    """``network`` up to exit ``last``, from 1, whose classifier becomes the final one. The modules are shared."""
    end = nn.Sequential(network.blocks[last - 1], network.ics[last - 1])
    blocks, ics = list(network.blocks)[: last - 1], list(network.ics)[: last - 1]
    return SDN(network.stem, blocks, ics, end, network.input_shape).eval()
