"""Calibrates the noise gate: from which level a frame counts as attacked, with which table it is quantised and which
threshold it gets.

All on calibration images, clean and under DeepSloth L-inf, so that the test images, and the norms L2 and L1, stay unseen.
"""

from typing import Any, NamedTuple

import numpy as np

from device.gate import noise_level
from export.calibration import THRESHOLD_GRID, ExitScores, OperatingPoint, operating_point, score
from export.datasets import Dataset
from export.defences import defence_named, table_defence
from export.evaluation.subject import Subject, attacked
from export.frames import to_pixels
from export.quantization_table import bake

LEVELS = np.round(np.arange(0.5, 2.01, 0.05), 2)
RANGES = ((10, 40), (10, 60), (20, 60), (20, 80), (30, 60))
"""Ranges of Algorithm 1 to choose from. Low steps for the frequencies that the attack spares leave more of the image."""
SAMPLES = 600
"""Calibration images to attack; clean, all of them count."""
RESTORED = 0.92
"""EFCY of attacked frames to reach, as a share of what clean frames have."""
CLEAN_LOSS = 0.01
"""Accuracy that clean frames may lose; half of what the goal allows, since test images are others."""


class Traffic(NamedTuple):
    """One kind of frames: noise levels (n,), labels (n,), and scores as they are and behind DefQ."""

    levels: np.ndarray
    labels: np.ndarray
    plain: ExitScores
    quantised: ExitScores

    def at(self, subject: Subject, rad: int, level: float, low: float) -> OperatingPoint:
        """Behind a gate at ``level`` that gives the frames it finds the threshold ``low``."""
        found = self.levels >= level
        scores = ExitScores(*(np.where(found, q, p) for q, p in zip(self.quantised, self.plain, strict=True)))
        return operating_point(scores, self.labels, subject.costs, np.where(found, low, subject.thresholds[rad]))


def calibrate_gate(subject: Subject, data: Dataset) -> dict[str, Any]:
    """The key ``gate`` of a table's file: of all ranges the one that leaves attacked frames the highest accuracy."""
    images = data.calibration
    few = images.take(SAMPLES)
    none = defence_named("none", subject.model)
    harmed_pixels = to_pixels(attacked("linf", subject, data, few, none))
    clean, harmed = _traffic(images.pixels, images.labels, subject), _traffic(harmed_pixels, few.labels, subject)
    best: dict[str, Any] = {"attacked_accuracy": -1.0}
    for low, high in RANGES:
        table = bake(subject.model, low, high)
        found = _at_one_table(
            subject, _quantised(clean, images.pixels, subject, table), _quantised(harmed, harmed_pixels, subject, table)
        )
        if found["attacked_accuracy"] > best["attacked_accuracy"]:
            best = {**found, "range": [low, high], "table": table.tolist()}
    counts = {"clean": len(images.labels), "attacked": len(few.labels)}
    return {**best, "images": counts, "weights_sha256": subject.identity}


def _at_one_table(subject: Subject, clean: Traffic, harmed: Traffic) -> dict[str, Any]:
    """Level and thresholds for one table.

    For every level: per RAD the highest threshold that gives attacked frames RESTORED of the EFCY that clean frames
    have without a defence. Of the levels whose clean frames then lose at most CLEAN_LOSS of their accuracy and
    no T3-ER, at both RADs, the lowest: it finds weak attacks too. Where there is none, the highest level.
    """
    nothing = np.inf  # a gate that finds no frame
    plain = {rad: clean.at(subject, rad, nothing, 0.0) for rad in subject.thresholds}
    chosen: dict[str, Any] = {}
    for level in LEVELS[::-1]:
        lows = {}
        for rad, threshold in subject.thresholds.items():
            enough = [
                low
                for low in np.extract(threshold >= THRESHOLD_GRID, THRESHOLD_GRID)
                if harmed.at(subject, rad, level, low).efcy >= RESTORED * plain[rad].efcy
            ]
            lows[rad] = float(max(enough, default=0.0))
        kept = all(
            point.accuracy >= plain[rad].accuracy - CLEAN_LOSS and point.t3_er >= plain[rad].t3_er
            for rad, point in ((rad, clean.at(subject, rad, level, low)) for rad, low in lows.items())
        )
        if kept or not chosen:
            accuracies = [harmed.at(subject, rad, level, low).accuracy for rad, low in lows.items()]
            chosen = {
                "level": float(level),
                "thresholds": {str(rad): low for rad, low in lows.items()},
                "clean_found": round(float((clean.levels >= level).mean()), 4),
                "attacked_found": round(float((harmed.levels >= level).mean()), 4),
                "attacked_accuracy": round(float(np.mean(accuracies)), 4),
            }
    return chosen


def _traffic(pixels: np.ndarray, labels: np.ndarray, subject: Subject) -> Traffic:
    scores = score(subject.network, pixels)
    return Traffic(np.array([noise_level(frame) for frame in pixels]), labels, scores, scores)


def _quantised(traffic: Traffic, pixels: np.ndarray, subject: Subject, table: np.ndarray) -> Traffic:
    """Scores behind DefQ for all frames that some level finds."""
    chosen = np.flatnonzero(traffic.levels >= LEVELS[0])
    if not len(chosen):
        return traffic
    behind = score(subject.network, table_defence("", table).pixels(pixels[chosen]))
    quantised = ExitScores(*(each.copy() for each in traffic.plain))
    for whole, part in zip(quantised, behind, strict=True):
        whole[:, chosen] = part
    return traffic._replace(quantised=quantised)
