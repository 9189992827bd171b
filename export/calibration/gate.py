"""Calibrates the noise gate: from which level a frame counts as attacked, with which table it is quantised and which
threshold it gets. The strong stage is learned from DeepSloth L-inf, blind and through the defence, the weak one from L2,
whose noise is 0.4 of it.

All on calibration images, so that the test images, and L1, stay unseen.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from export.calibration.attacked_images import SAMPLES, SLOW_SAMPLES, attacked
from export.calibration.cost import THRESHOLD_GRID, operating_point, score
from export.calibration.model import CalibratedModel
from export.calibration.scored_frames import LEVELS, ScoredFrames, Stage
from export.data.frames import to_pixels
from export.data.images import Dataset, Images
from export.defences import defence_named, table_defence

LEAST_STRONG = 0.5
STRONG_RANGES = ((10, 40), (10, 60), (20, 60), (20, 80), (30, 60))
WEAK_RANGES = ((5, 20), (5, 30), (10, 30), (10, 40))
"""Ranges of Algorithm 1 to choose from. Low steps for the frequencies that an attack spares leave more of the image."""
WEAK_DROPS = np.round(np.arange(0.0, 0.25, 0.02), 2)
"""How much lower than usual the threshold of the weak stage may be."""
RESTORED = 0.92
"""EFCY of frames attacked by L-inf to reach, as a share of what clean frames have."""
ADAPTIVE_GAIN = 3.3
"""EFCY of frames attacked through the strong stage to reach, as a multiple of what plain DefQ keeps under an attacker who
knows it, but not more than RESTORED; the goal is 3 on other images."""
ADAPTIVE_SAMPLES = 200
LOSS = (0.016,)
"""Accuracy that clean frames may lose to both stages; the goal is 0.02 on other images."""
LOSS_AT_LAST_EXIT = (0.014, 0.018)
"""The same, what a last exit costs included: the second only where the first does not restore enough."""
STRONG_SHARE = 0.625
"""Of what a last exit leaves of that, what the strong stage may spend."""
ENOUGH = 0.87
"""EFCY to restore under L2 with a last exit, as a share of what clean frames have; the goal is 0.85 on other images."""


class Target(NamedTuple):
    """EFCY to reach on one kind of frames, for each RAD."""

    frames: ScoredFrames
    efcy: dict[int, float]


def calibrate_gate(
    model: CalibratedModel, data: Dataset, blind: bool = False, ending: int | None = None
) -> dict[str, Any]:
    """The key ``gate`` of a table's file, or one of its ``last_exit_gates``, JSON-ready.

    First the strong stage: of all ranges the one that leaves attacked frames the highest accuracy; its level and
    thresholds are then chosen anew so that an attacker who knows it gains little as well. Then, beside it, the weak one:
    of all levels, tables and thresholds that cost clean frames no more accuracy than LOSS and no T3-ER, the one that
    restores most EFCY under L2, and of those the one with the highest accuracy. There may be none.

    Args:
        model: with its table.
        data: its calibration images; the classes must be the network's.
        blind: expect no attacker who knows the defence: thresholds stay higher, and attacked frames more accurate.
        ending: a RAD, for a network that ends at its last exit for it: what that costs clean frames counts as lost to the
            gate, and what it restores need not be restored by it. The gate need then be harmless at this RAD alone.

    Raises:
        UsageError: the calibration knows no last exit for ``ending``.
    """
    trial = _Trial(model, data, blind, ending)
    found: list[tuple[Stage, ...]] = []  # the strong stage alone, or the weak one before it
    for loss in LOSS if ending is None else LOSS_AT_LAST_EXIT:
        found.append(trial.stages(loss))
        if trial.merit(*found[-1])[0] >= trial.enough:
            break
    *weak, strong = max(found, key=lambda stages: trial.merit(*stages))
    content = trial.content("linf", strong)
    for stage in weak:
        content["weak"] = trial.content("l2", stage, strong)
    if trial.last:
        content["last_exit"] = trial.last
    counts = {attack: len(each.labels) for attack, each in trial.frames.items()}
    return {**content, "images": counts, "weights_sha256": model.identity}


class _Trial:
    """Clean and attacked calibration images, and what a gate makes of them."""

    def __init__(self, model: CalibratedModel, data: Dataset, blind: bool, ending: int | None) -> None:
        self.model, self.data, self.blind = model, data, blind
        self.last = None if ending is None else model.last_exit(ending)
        self.rads = tuple(model.thresholds) if ending is None else (ending,)
        self.enough = RESTORED if ending is None else ENOUGH
        images, none = data.calibration, defence_named("none")
        clean = ScoredFrames(images.pixels, images.labels, model, self.last)
        self.frames = {"clean": clean}
        for attack, count in (("linf", SAMPLES), ("l2", SLOW_SAMPLES)):
            few = images.take(count)
            harmed = to_pixels(attacked(attack, model, data, few, none))
            self.frames[attack] = ScoredFrames(harmed, few.labels, model, self.last)
        self.plain = {rad: clean.undefended(rad) for rad in model.thresholds}
        self.spent = max(self.plain[rad].accuracy - clean.at(rad).accuracy for rad in self.rads)  # by the last exit

    def harmless(self, loss: float, *stages: Stage) -> bool:
        """Clean frames lose at most ``loss`` of their accuracy and no T3-ER."""
        pairs = [(self.plain[rad], self.frames["clean"].at(rad, *stages)) for rad in self.rads]
        return all(after.accuracy >= plain.accuracy - loss and after.t3_er >= plain.t3_er for plain, after in pairs)

    def accuracy(self, attack: str, *stages: Stage) -> float:
        return float(np.mean([self.frames[attack].at(rad, *stages).accuracy for rad in self.rads]))

    def merit(self, *stages: Stage) -> tuple[float, float]:
        """EFCY restored under L2 as a share of that of clean frames, as far as it counts, and accuracy under L2."""
        ratios = [self.frames["l2"].at(rad, *stages).efcy / self.plain[rad].efcy for rad in self.rads]
        return round(min(*ratios, self.enough), 2), self.accuracy("l2", *stages)

    def stages(self, loss: float) -> tuple[Stage, ...]:
        """The best that cost clean frames at most ``loss`` of accuracy, from the lowest level to the highest."""
        strong = self._strong(self.spent + STRONG_SHARE * (loss - self.spent))
        weak = [
            Stage(float(level), {rad: round(value - drop, 2) for rad, value in self.model.thresholds.items()}, table)
            for table in (self.model.own_table().baked(*each) for each in WEAK_RANGES)
            for level in LEVELS[strong.level > LEVELS]
            for drop in WEAK_DROPS
        ]
        kept = [(stage, strong) for stage in weak if self.harmless(loss, stage, strong)]
        return max(kept, key=lambda stages: self.merit(*stages), default=(strong,))

    def _strong(self, loss: float) -> Stage:
        model, harmless = self.model, partial(self.harmless, loss)
        targets = [Target(self.frames["linf"], {rad: RESTORED * point.efcy for rad, point in self.plain.items()})]
        each_range = [_strong(model, model.own_table().baked(*each), targets, harmless) for each in STRONG_RANGES]
        chosen = max(each_range, key=lambda stage: self.accuracy("linf", stage))
        if self.blind:
            return chosen
        few = self.data.calibration.take(ADAPTIVE_SAMPLES)
        targets.append(_adaptive_target(model, self.data, few, chosen.table, targets[0].efcy, self.last))
        self.frames["adaptive"] = targets[-1].frames
        return _strong(model, chosen.table, targets, harmless)

    def content(self, attack: str, stage: Stage, *others: Stage) -> dict[str, Any]:
        """What the table's file says of a stage, beside ``others``."""
        return {
            "level": stage.level,
            "thresholds": {str(rad): float(low) for rad, low in stage.lows.items()},
            "table": stage.table.tolist(),
            "clean_found": round(float((self.frames["clean"].levels >= stage.level).mean()), 4),
            "attacked_found": round(float((self.frames[attack].levels >= stage.level).mean()), 4),
            "attacked_accuracy": round(self.accuracy(attack, stage, *others), 4),
        }


def _adaptive_target(
    model: CalibratedModel,
    data: Dataset,
    images: Images,
    table: np.ndarray,
    most: dict[int, float],
    last: int | None = None,
) -> Target:
    """Frames attacked through DefQ with ``table``, and ADAPTIVE_GAIN times the EFCY that Q_def keeps when it is known, or
    ``most``: frames need not leave earlier than clean ones do. The attacker of a network with a last exit knows it."""
    known, defq = table_defence("gated", table), defence_named("defq", model.own_table())
    scores = score(model.network, defq.pixels(to_pixels(attacked("adaptive", model, data, images, defq))))
    target = model.up_to_exit(last) if last else model
    harmed = to_pixels(attacked("adaptive", target, data, images, known))
    wanted = {
        rad: min(most[rad], ADAPTIVE_GAIN * operating_point(scores, images.labels, model.costs, threshold).efcy)
        for rad, threshold in model.thresholds.items()
    }
    return Target(ScoredFrames(harmed, images.labels, model, last), wanted)


def _strong(model: CalibratedModel, table: np.ndarray, targets: list[Target], harmless: Callable[..., bool]) -> Stage:
    """Level and thresholds for one table.

    For every level: per RAD the highest threshold that reaches all targets. Of the levels that are ``harmless`` to clean
    frames the lowest: it finds weaker attacks too. Where there is none, the highest level.
    """
    chosen: Stage | None = None
    for level in LEVELS[LEVELS >= LEAST_STRONG][::-1]:
        lows = {}
        for rad, threshold in model.thresholds.items():
            enough = [
                low
                for low in np.extract(threshold >= THRESHOLD_GRID, THRESHOLD_GRID).tolist()
                if all(each.frames.at(rad, Stage(level, {rad: low}, table)).efcy >= each.efcy[rad] for each in targets)
            ]
            lows[rad] = max(enough, default=0.0)
        stage = Stage(float(level), lows, table)
        if chosen is None or harmless(stage):
            chosen = stage
    assert chosen is not None
    return chosen
