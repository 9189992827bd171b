"""Calibrates a network anew whose blocks compute in 8 bits, and compares it with the same network in float32."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from export.calibration.calibrate import rounded_accuracies, rounded_shares
from export.calibration.card import ImageCounts, ModelCard
from export.calibration.cost import ExitScores, early_exit, operating_point, rad_threshold

LEAST_SAME_EXITS = 0.95
MOST_ACCURACY_LOST = 0.01


def recalibrated(card: ModelCard, scores: ExitScores, labels: np.ndarray, keep_thresholds: bool = False) -> ModelCard:
    """The model card of a network in 8 bits. A threshold changes only where it does not keep the accuracy that RAD asks for:
    the cheapest one on the grid is often another of nearly the same cost, which would move exits for nothing.

    Args:
        card: of the network in float32.
        scores: of the network in 8 bits on the calibration images.
        labels: int (images,), their true classes.
        keep_thresholds: for a network that ends at its last exit: RAD is relative to a final classifier that it no longer has.
    """
    costs = list(card.relative_costs)
    points = {
        rad: operating_point(scores, labels, costs, point.threshold)
        if keep_thresholds or _accurate(scores, labels, costs, point.threshold, rad)
        else rad_threshold(scores, labels, costs, rad)
        for rad, point in card.thresholds.items()
    }
    return replace(
        card,
        thresholds={rad: point.rounded() for rad, point in points.items()},
        last_exits={},
        accuracy_calibration=rounded_accuracies(scores, labels),
        accuracy_test=(),
        images=ImageCounts(len(labels), 0),
        shares={rad: rounded_shares(scores, point.threshold) for rad, point in points.items()},
    )


def _accurate(scores: ExitScores, labels: np.ndarray, costs: list[float], threshold: float, rad: int) -> bool:
    final = float((scores.classes[-1] == labels).mean())
    return operating_point(scores, labels, costs, threshold).accuracy >= (1 - rad / 100) * final


@dataclass(frozen=True, slots=True)
class Int8Comparison:
    """A network in 8 bits beside the same in float32, each at its own threshold, on calibration images.

    Args:
        images: number of images.
        same_exits, same_labels: share of images that leave at the same exit, that get the same label.
        accuracy, accuracy_float32: of the early exits.
        mean_cost, mean_cost_float32: mean relative cost.
    """

    images: int
    same_exits: float
    same_labels: float
    accuracy: float
    accuracy_float32: float
    mean_cost: float
    mean_cost_float32: float

    @classmethod
    def of(
        cls,
        scores: ExitScores,
        threshold: float,
        float32: ExitScores,
        float32_threshold: float,
        labels: np.ndarray,
        costs: list[float],
    ) -> "Int8Comparison":
        exits, classes = early_exit(scores, threshold)
        before_exits, before_classes = early_exit(float32, float32_threshold)
        after = operating_point(scores, labels, costs, threshold)
        before = operating_point(float32, labels, costs, float32_threshold)
        return cls(
            len(labels),
            round(float((exits == before_exits).mean()), 4),
            round(float((classes == before_classes).mean()), 4),
            round(after.accuracy, 4),
            round(before.accuracy, 4),
            round(after.mean_cost, 4),
            round(before.mean_cost, 4),
        )

    def told(self) -> str:
        """What the export prints."""
        return (
            f"int8: {self.same_exits:.1%} of {self.images} calibration images leave at the same exit as in float32 and "
            f"{self.same_labels:.1%} get the same label; accuracy {self.accuracy:.4f} for {self.accuracy_float32:.4f}, "
            f"mean cost {self.mean_cost:.3f} for {self.mean_cost_float32:.3f}"
        )

    def warning(self) -> str | None:
        """A sentence where 8 bits change too much; None where they do not."""
        if self.same_exits >= LEAST_SAME_EXITS and self.accuracy >= self.accuracy_float32 - MOST_ACCURACY_LOST:
            return None
        return (
            f"found {self.same_exits:.1%} of the exits unchanged by --int8 and accuracy {self.accuracy:.4f} for "
            f"{self.accuracy_float32:.4f}; expected {LEAST_SAME_EXITS:.0%}, and at most {MOST_ACCURACY_LOST} lost; look at accuracy and "
            "mean cost above, and leave --int8 out where they are not good enough"
        )

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}
