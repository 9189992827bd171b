"""Calibrates the noise gate: from which level a frame counts as attacked, with which table it is quantised and which
threshold it gets. The strong stage is learned from DeepSloth L-inf, blind and through the defence, the weak one from L2,
whose noise is 0.4 of it.

All on calibration images, so that the test images, and L1, stay unseen.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from device.gate import noise_level
from export.calibration import THRESHOLD_GRID, ExitScores, OperatingPoint, operating_point, score
from export.datasets import Dataset, Images
from export.defences import defence_named, table_defence
from export.evaluation.subject import Subject, attacked
from export.evaluation.tables import SAMPLES, SLOW_SAMPLES
from export.frames import to_pixels
from export.quantization_table import bake

LEVELS = np.round(np.arange(0.35, 2.01, 0.05), 2)
LEAST_STRONG = 0.5
STRONG_RANGES = ((10, 40), (10, 60), (20, 60), (20, 80), (30, 60))
WEAK_RANGES = ((5, 20), (5, 30), (10, 30), (10, 40))
"""Ranges of Algorithm 1 to choose from. Low steps for the frequencies that an attack spares leave more of the image."""
WEAK_DROPS = np.round(np.arange(0.0, 0.25, 0.02), 2)
"""How much lower than usual the threshold of the weak stage may be."""
RESTORED = 0.92
"""EFCY of attacked frames to reach, as a share of what clean frames have."""
ADAPTIVE_GAIN = 3.3
"""EFCY of frames attacked through the strong stage to reach, as a multiple of what plain DefQ keeps under an attacker who
knows it, but not more than RESTORED; the goal is 3 on other images."""
ADAPTIVE_SAMPLES = 200
STRONG_LOSS, LOSS = 0.01, 0.016
"""Accuracy that clean frames may lose to the strong stage and to both; the goal is 0.02 on other images."""


class Stage(NamedTuple):
    """A stage on trial: level, threshold for each RAD, table."""

    level: float
    lows: dict[int, float]
    table: np.ndarray


class Traffic:
    """One kind of frames with their noise levels, and their scores as they are and behind any table."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, subject: Subject) -> None:
        self.pixels, self.labels, self.subject = pixels, labels, subject
        self.levels = np.array([noise_level(frame) for frame in pixels])
        self.plain = score(subject.network, pixels)
        self._behind: dict[bytes, ExitScores] = {}

    def behind(self, table: np.ndarray) -> ExitScores:
        """Scores behind DefQ; frames that no level finds keep their plain ones."""
        key = table.tobytes()
        if key not in self._behind:
            chosen = np.flatnonzero(self.levels >= LEVELS[0])
            scores = ExitScores(*(each.copy() for each in self.plain))
            if len(chosen):
                quantised = score(self.subject.network, table_defence("", table).pixels(self.pixels[chosen]))
                for whole, part in zip(scores, quantised, strict=True):
                    whole[:, chosen] = part
            self._behind[key] = scores
        return self._behind[key]

    def at(self, rad: int, *stages: Stage) -> OperatingPoint:
        """What the gate with these stages gives, from the lowest level to the highest."""
        thresholds = np.full(len(self.labels), self.subject.thresholds[rad])
        scores = self.plain
        for stage in stages:
            found = self.levels >= stage.level
            quantised = self.behind(stage.table)
            scores = ExitScores(*(np.where(found, q, p) for q, p in zip(quantised, scores, strict=True)))
            thresholds = np.where(found, stage.lows[rad], thresholds)
        return operating_point(scores, self.labels, self.subject.costs, thresholds)


class Target(NamedTuple):
    """EFCY to reach on one kind of frames, for each RAD."""

    traffic: Traffic
    efcy: dict[int, float]


def calibrate_gate(subject: Subject, data: Dataset, blind: bool = False) -> dict[str, Any]:
    """The key ``gate`` of a table's file, JSON-ready.

    First the strong stage: of all ranges the one that leaves attacked frames the highest accuracy; its level and
    thresholds are then chosen anew so that an attacker who knows it gains little as well. Then, beside it, the weak one:
    of all levels, tables and thresholds that cost clean frames at most LOSS and no T3-ER, the one that restores most
    EFCY under L2, and of those the one with the highest accuracy. There may be none.

    Args:
        data: its calibration images; the classes must be the network's.
        blind: expect no attacker who knows the defence: thresholds stay higher, and attacked frames more accurate.
    """
    images = data.calibration
    none = defence_named("none", subject.model)
    clean = Traffic(images.pixels, images.labels, subject)
    harmed = {}
    for attack, count in (("linf", SAMPLES), ("l2", SLOW_SAMPLES)):
        few = images.take(count)
        harmed[attack] = Traffic(to_pixels(attacked(attack, subject, data, few, none)), few.labels, subject)
    rads = subject.thresholds
    plain = {rad: clean.at(rad) for rad in rads}

    def harmless(loss: float, *stages: Stage) -> bool:
        points = {rad: clean.at(rad, *stages) for rad in rads}
        return all(
            points[rad].accuracy >= plain[rad].accuracy - loss and points[rad].t3_er >= plain[rad].t3_er for rad in rads
        )

    def accuracy(attack: str, *stages: Stage) -> float:
        return float(np.mean([harmed[attack].at(rad, *stages).accuracy for rad in rads]))

    targets = [Target(harmed["linf"], {rad: RESTORED * plain[rad].efcy for rad in rads})]
    strong = [_strong(subject, bake(subject.model, *each), targets, harmless) for each in STRONG_RANGES]
    chosen = max(strong, key=lambda stage: accuracy("linf", stage))
    if not blind:
        few = images.take(ADAPTIVE_SAMPLES)
        targets.append(_adaptive_target(subject, data, few, chosen.table, targets[0].efcy))
        chosen = _strong(subject, chosen.table, targets, harmless)
        harmed["adaptive"] = targets[-1].traffic
    content = _content(chosen, clean, harmed["linf"], accuracy("linf", chosen))

    def restored(stage: Stage) -> float:
        ratios = [harmed["l2"].at(rad, stage, chosen).efcy / plain[rad].efcy for rad in rads]
        return min(*ratios, RESTORED)

    trials = [
        Stage(float(level), {rad: round(threshold - drop, 2) for rad, threshold in rads.items()}, table)
        for table in (bake(subject.model, *each) for each in WEAK_RANGES)
        for level in LEVELS[chosen.level > LEVELS]
        for drop in WEAK_DROPS
    ]
    kept = [stage for stage in trials if harmless(LOSS, stage, chosen)]
    if kept:
        weak = max(kept, key=lambda stage: (round(restored(stage), 2), accuracy("l2", stage, chosen)))
        content["weak"] = _content(weak, clean, harmed["l2"], accuracy("l2", weak, chosen))
    counts = {"clean": len(clean.labels), **{attack: len(traffic.labels) for attack, traffic in harmed.items()}}
    return {**content, "images": counts, "weights_sha256": subject.identity}


def _adaptive_target(
    subject: Subject, data: Dataset, images: Images, table: np.ndarray, most: dict[int, float]
) -> Target:
    """Frames attacked through DefQ with ``table``, and ADAPTIVE_GAIN times the EFCY that Q_def keeps when it is known, or
    ``most``: frames need not leave earlier than clean ones do."""
    known, defq = table_defence("gated", table), defence_named("defq", subject.model)
    scores = score(subject.network, defq.pixels(to_pixels(attacked("adaptive", subject, data, images, defq))))
    harmed = to_pixels(attacked("adaptive", subject, data, images, known))
    wanted = {
        rad: min(most[rad], ADAPTIVE_GAIN * operating_point(scores, images.labels, subject.costs, threshold).efcy)
        for rad, threshold in subject.thresholds.items()
    }
    return Target(Traffic(harmed, images.labels, subject), wanted)


def _strong(subject: Subject, table: np.ndarray, targets: list[Target], harmless: Callable[..., bool]) -> Stage:
    """Level and thresholds for one table.

    For every level: per RAD the highest threshold that reaches all targets. Of the levels that cost clean frames at most
    STRONG_LOSS of their accuracy and no T3-ER, at both RADs, the lowest: it finds weaker attacks too. Where there is
    none, the highest level.
    """
    chosen: Stage | None = None
    for level in LEVELS[LEVELS >= LEAST_STRONG][::-1]:
        lows = {}
        for rad, threshold in subject.thresholds.items():
            enough = [
                low
                for low in np.extract(threshold >= THRESHOLD_GRID, THRESHOLD_GRID).tolist()
                if all(each.traffic.at(rad, Stage(level, {rad: low}, table)).efcy >= each.efcy[rad] for each in targets)
            ]
            lows[rad] = max(enough, default=0.0)
        stage = Stage(float(level), lows, table)
        if chosen is None or harmless(STRONG_LOSS, stage):
            chosen = stage
    assert chosen is not None
    return chosen


def _content(stage: Stage, clean: Traffic, harmed: Traffic, accuracy: float) -> dict[str, Any]:
    return {
        "level": stage.level,
        "thresholds": {str(rad): float(low) for rad, low in stage.lows.items()},
        "table": stage.table.tolist(),
        "clean_found": round(float((clean.levels >= stage.level).mean()), 4),
        "attacked_found": round(float((harmed.levels >= stage.level).mean()), 4),
        "attacked_accuracy": round(accuracy, 4),
    }
