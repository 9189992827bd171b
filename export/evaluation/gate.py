"""Calibrates the noise gate: from which level a frame counts as attacked, and which threshold such frames get.

All on calibration images, clean and under DeepSloth L-inf, so that the test images, and the norms L2 and L1, stay unseen.
"""

from typing import Any, NamedTuple

import numpy as np

from device.gate import noise_level
from export.calibration import THRESHOLD_GRID, ExitScores, OperatingPoint, operating_point, score
from export.datasets import Dataset
from export.defences import defence_named
from export.evaluation.subject import Subject, attacked
from export.frames import to_pixels

LEVELS = np.round(np.arange(0.5, 2.01, 0.05), 2)
SAMPLES = 600
"""Calibration images to attack; clean, all of them count."""
RESTORED = 0.92
"""EFCY of attacked frames to reach, as a share of what clean frames have."""
CLEAN_LOSS = 0.01
"""Accuracy that clean frames may lose; half of what the goal allows, since test images are others."""


class Traffic(NamedTuple):
    """One kind of frames: their noise levels (n,), and scores as they are and behind DefQ."""

    levels: np.ndarray
    plain: ExitScores
    quantised: ExitScores

    def behind(self, level: float, threshold: float, low: float) -> tuple[ExitScores, np.ndarray]:
        """Scores and thresholds (n,) behind a gate at ``level`` that gives attacked frames the threshold ``low``."""
        found = self.levels >= level
        mixed = ExitScores(*(np.where(found, q, p) for q, p in zip(self.quantised, self.plain, strict=True)))
        return mixed, np.where(found, low, threshold)


def calibrate_gate(subject: Subject, data: Dataset) -> dict[str, Any]:
    """The key ``gate`` of a table's file.

    For every level: per RAD the highest threshold that gives attacked frames RESTORED of the EFCY that clean frames
    have without a defence. Of the levels whose clean frames then lose at most CLEAN_LOSS of their accuracy and
    no T3-ER, at both RADs, the lowest: it finds weak attacks too. Where there is none, the highest level.
    """
    images = data.calibration
    few = images.take(SAMPLES)
    none, defq = defence_named("none", subject.model), defence_named("defq", subject.model)
    clean = _traffic(images.pixels, subject, defq.pixels)
    harmed = _traffic(to_pixels(attacked("linf", subject, data, few, none)), subject, defq.pixels)
    plain = {
        rad: operating_point(clean.plain, images.labels, subject.costs, t) for rad, t in subject.thresholds.items()
    }

    def point(traffic: Traffic, level: float, rad: int, low: float) -> OperatingPoint:
        scores, thresholds = traffic.behind(level, subject.thresholds[rad], low)
        return operating_point(scores, images.labels[: len(thresholds)], subject.costs, thresholds)

    chosen: dict[str, Any] = {}
    for level in LEVELS[::-1]:
        lows = {}
        for rad, threshold in subject.thresholds.items():
            enough = [
                low
                for low in np.extract(threshold >= THRESHOLD_GRID, THRESHOLD_GRID)
                if point(harmed, level, rad, low).efcy >= RESTORED * plain[rad].efcy
            ]
            lows[rad] = float(max(enough, default=0.0))
        clean_points = {rad: point(clean, level, rad, low) for rad, low in lows.items()}
        kept = all(
            each.accuracy >= plain[rad].accuracy - CLEAN_LOSS and each.t3_er >= plain[rad].t3_er
            for rad, each in clean_points.items()
        )
        if kept or not chosen:
            chosen = {
                "level": float(level),
                "thresholds": {str(rad): low for rad, low in lows.items()},
                "clean_found": round(float((clean.levels >= level).mean()), 4),
                "attacked_found": round(float((harmed.levels >= level).mean()), 4),
                "images": {"clean": len(images.labels), "attacked": len(few.labels)},
                "weights_sha256": subject.identity,
            }
    return chosen


def _traffic(pixels: np.ndarray, subject: Subject, defend: Any) -> Traffic:
    levels = np.array([noise_level(frame) for frame in pixels])
    return Traffic(levels, score(subject.network, pixels), score(subject.network, defend(pixels)))
