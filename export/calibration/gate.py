"""Calibrates the noise gate: the noise level from which a frame is treated as attacked, the table that quantises it, and the
threshold that it gets.

A gate has a strong stage, for frames as noisy as DeepSloth L-inf makes them, and often a weak stage for less noisy frames.
The strong stage is calibrated on frames under L-inf and, unless the calibration is blind, on frames whose attacker knows
the stage. The weak stage is calibrated on frames under L2, whose noise is 0.4 times that of L-inf.

Only calibration images are used. The test images and the attack L1 stay unseen.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from device.errors import DataError
from export.calibration.attacked_images import Samples, attacked
from export.calibration.cost import THRESHOLD_GRID, operating_point, score
from export.calibration.gate_file import GateFile, GateStage
from export.calibration.model import CalibratedModel
from export.calibration.scored_frames import LEVELS, ScoredFrames
from export.data.frames import to_pixels
from export.data.images import Dataset, Images
from export.defences import defence_named, table_defence

LEAST_STRONG = 0.5
"""Lowest noise level at which the strong stage may begin."""
STRONG_RANGES = ((10, 40), (10, 60), (20, 60), (20, 80), (30, 60))
WEAK_RANGES = ((5, 20), (5, 30), (10, 30), (10, 40))
"""Ranges of Algorithm 1 that are tried for the table of each stage. A range that begins low quantises the frequencies that
the attack leaves alone less, so that more of the image remains."""
WEAK_DROPS = np.round(np.arange(0.0, 0.25, 0.02), 2)
"""How much lower than the network's threshold the threshold of the weak stage may be."""
RESTORED = 0.92
"""EFCY that frames under L-inf have to reach behind the gate, as a share of the EFCY of clean frames."""
ADAPTIVE_GAIN = 3.3
"""EFCY that frames of an attacker who knows the strong stage have to reach, as a multiple of the EFCY that plain DefQ keeps
against an attacker who knows it. At most RESTORED is asked for. The aim on other images is a multiple of 3."""
MOST_CLEAN, LEAST_FOUND = 0.05, 0.9
"""For photographs: the share of clean ones that a gate may take for attacked, and the share of ones under L-inf that it has to
find."""
LOSS = (0.016,)
"""Accuracy that clean frames may lose to both stages together. The aim on other images is 0.02."""
LOSS_AT_LAST_EXIT = (0.014, 0.018)
"""The same for a network that ends at its last exit, whose own loss counts too. The second value is tried only where the
first does not restore ENOUGH."""
STRONG_SHARE = 0.625
"""Share of the remaining accuracy budget that the strong stage may use. What a last exit costs is taken off first."""
ENOUGH = 0.87
"""EFCY that frames under L2 have to reach in a network that ends at its last exit, as a share of the EFCY of clean frames.
The aim on other images is 0.85."""


class NoGateError(DataError):
    """Photographs do not allow a gate: too many clean ones are as noisy as attacked ones."""


class Target(NamedTuple):
    """The EFCY that frames of one kind have to reach, for each RAD in percent."""

    frames: ScoredFrames
    efcy: Mapping[int, float]


def calibrate_gate(
    model: CalibratedModel,
    data: Dataset,
    blind: bool = False,
    ending: int | None = None,
    samples: Samples = Samples(),  # noqa: B008 (immutable)
) -> GateFile:
    """Calibrate the noise gate of a network.

    The strong stage comes first. Its table is the one, among STRONG_RANGES, behind which attacked frames have the highest
    accuracy. Its level and thresholds are then chosen once more so that an attacker who knows the stage gains little.
    Beside it, the weak stage is chosen among all levels, tables and thresholds that cost clean frames at most LOSS of
    their accuracy and no T3-ER: the one that restores most EFCY under L2, and among equals the one with the highest
    accuracy. There may be no such stage.

    Args:
        model: with its table.
        data: its calibration images are used; its classes must be those of the network.
        blind: do not expect an attacker who knows the gate. Thresholds are then higher and attacked frames more accurate.
        ending: a RAD in percent: calibrate for the network that ends at its last exit for this RAD. The accuracy that the
            last exit costs counts against the gate, the EFCY that it restores counts for it, and the gate has to be
            harmless to clean frames at this RAD only.
        samples: number of images to attack.

    Raises:
        UsageError: the model card names no last exit for ``ending``.
        DataError: the model has no table, or the table no mean ratios.
        NoGateError: the data are photographs, of which clean ones are as noisy as attacked ones.
    """
    trial = _Trial(model, data, blind, ending, samples)
    found: list[tuple[GateStage, ...]] = []  # the strong stage alone, or the weak stage before it
    for loss in LOSS if ending is None else LOSS_AT_LAST_EXIT:
        found.append(trial.stages(loss))
        if trial.merit(*found[-1])[0] >= trial.enough:
            break
    *weak, strong = max(found, key=lambda stages: trial.merit(*stages))
    if trial.photographs:
        trial.check_found(strong)
    return GateFile(
        trial.measured("linf", strong),
        trial.measured("l2", weak[0], strong) if weak else None,
        last_exit=trial.last,
        images={attack: len(each.labels) for attack, each in trial.frames.items()},
        weights_sha256=model.identity,
    )


class _Trial:
    """Clean and attacked calibration images, and what a gate on trial gives on them."""

    def __init__(
        self, model: CalibratedModel, data: Dataset, blind: bool, ending: int | None, samples: Samples
    ) -> None:
        self.model, self.data, self.blind, self.samples = model, data, blind, samples
        self.photographs = data.of_camera
        self.last = None if ending is None else model.last_exit(ending)
        self.rads = tuple(model.thresholds) if ending is None else (ending,)
        self.enough = RESTORED if ending is None else ENOUGH
        images, none = data.calibration, defence_named("none")
        clean = ScoredFrames(images.pixels, images.labels, model, self.last)
        self.frames = {"clean": clean}
        self.levels = _quiet_levels(clean) if self.photographs else LEVELS
        for attack, count in (("linf", samples.linf), ("l2", samples.slow)):
            few = images.take(count)
            harmed = to_pixels(attacked(attack, model, data, few, none))
            self.frames[attack] = ScoredFrames(harmed, few.labels, model, self.last)
        self.plain = {rad: clean.undefended(rad) for rad in model.thresholds}
        self.last_exit_loss = max(self.plain[rad].accuracy - clean.at(rad).accuracy for rad in self.rads)

    def harmless(self, loss: float, *stages: GateStage) -> bool:
        """Whether clean frames lose at most ``loss`` of their accuracy behind these stages, and no T3-ER."""
        pairs = [(self.plain[rad], self.frames["clean"].at(rad, *stages)) for rad in self.rads]
        return all(after.accuracy >= plain.accuracy - loss and after.t3_er >= plain.t3_er for plain, after in pairs)

    def accuracy(self, attack: str, *stages: GateStage) -> float:
        """Accuracy under an attack behind these stages, the mean over the RADs."""
        return float(np.mean([self.frames[attack].at(rad, *stages).accuracy for rad in self.rads]))

    def merit(self, *stages: GateStage) -> tuple[float, float]:
        """How good these stages are, the larger the better: EFCY under L2 as a share of the EFCY of clean frames, where more
        than is enough counts as enough, and accuracy under L2."""
        ratios = [self.frames["l2"].at(rad, *stages).efcy / self.plain[rad].efcy for rad in self.rads]
        return round(min(*ratios, self.enough), 2), self.accuracy("l2", *stages)

    def stages(self, loss: float) -> tuple[GateStage, ...]:
        """The best stages that cost clean frames at most ``loss`` of their accuracy, in ascending order of their levels."""
        model = self.model
        strong = self._strong(self.last_exit_loss + STRONG_SHARE * (loss - self.last_exit_loss))
        weak = [
            GateStage(float(level), {rad: round(value - drop, 2) for rad, value in model.thresholds.items()}, table)
            for table in (model.own_table().baked(*each) for each in WEAK_RANGES)
            for level in self.levels[strong.level > self.levels]
            for drop in WEAK_DROPS
        ]
        kept = [(stage, strong) for stage in weak if self.harmless(loss, stage, strong)]
        return max(kept, key=lambda stages: self.merit(*stages), default=(strong,))

    def _strong(self, loss: float) -> GateStage:
        """The strong stage that costs clean frames at most ``loss`` of their accuracy."""
        model, harmless = self.model, partial(self.harmless, loss)
        targets = [Target(self.frames["linf"], {rad: RESTORED * point.efcy for rad, point in self.plain.items()})]
        each_range = [
            strong_stage(model, model.own_table().baked(*each), targets, harmless, self.levels)
            for each in STRONG_RANGES
        ]
        chosen = max(each_range, key=lambda stage: self.accuracy("linf", stage))
        if self.blind:
            return chosen
        few = self.data.calibration.take(self.samples.adaptive)
        targets.append(adaptive_target(model, self.data, few, chosen.table, targets[0].efcy, self.last))
        self.frames["adaptive"] = targets[-1].frames
        return strong_stage(model, chosen.table, targets, harmless, self.levels)

    def check_found(self, strong: GateStage) -> None:
        """Check that the strong stage finds attacked photographs.

        Raises:
            NoGateError: it misses many.
        """
        share = float((self.frames["linf"].levels >= strong.level).mean())
        if share < LEAST_FOUND:
            raise NoGateError(
                f"found {share:.0%} of the attacked photographs above the noise level {strong.level}, above which at most "
                f"{MOST_CLEAN:.0%} of the clean ones are; expected {LEAST_FOUND:.0%} or more; leave the gate out, and use DefQ for all frames"
            )

    def measured(self, attack: str, stage: GateStage, *others: GateStage) -> GateStage:
        """``stage`` with its thresholds as plain numbers and with what it gives under ``attack``, beside ``others``."""
        return replace(
            stage,
            thresholds={rad: float(value) for rad, value in stage.thresholds.items()},
            clean_found=round(float((self.frames["clean"].levels >= stage.level).mean()), 4),
            attacked_found=round(float((self.frames[attack].levels >= stage.level).mean()), 4),
            attacked_accuracy=round(self.accuracy(attack, stage, *others), 4),
        )


def _quiet_levels(clean: ScoredFrames) -> np.ndarray:
    """Those of LEVELS that few clean frames reach.

    Raises:
        NoGateError: there is none.
    """
    quiet = np.array([level for level in LEVELS if (clean.levels >= level).mean() <= MOST_CLEAN])
    if not len(quiet):
        raise NoGateError(
            f"found {(clean.levels >= LEVELS[-1]).mean():.0%} of the clean photographs above the noise level {LEVELS[-1]}, the "
            f"highest that a gate may have; expected at most {MOST_CLEAN:.0%}; leave the gate out, and use DefQ for all frames"
        )
    return quiet


def adaptive_target(
    model: CalibratedModel,
    data: Dataset,
    images: Images,
    table: np.ndarray,
    most: Mapping[int, float],
    last: int | None = None,
) -> Target:
    """Frames of an attacker who knows DefQ with ``table``, and the EFCY that they have to reach: ADAPTIVE_GAIN times the EFCY
    that Q_def keeps against an attacker who knows it, but not more than ``most``.

    Args:
        images: those to attack.
        table: quantisation steps, (8, 8).
        most: the highest EFCY to ask for, for each RAD: frames need not leave earlier than clean frames do.
        last: the exit, from 1, at which the network ends, which the attacker knows too; None: at the final classifier.
    """
    known, defq = table_defence("gated", table), defence_named("defq", model.own_table())
    scores = score(model.network, defq.pixels(to_pixels(attacked("adaptive", model, data, images, defq))))
    target = model.up_to_exit(last) if last else model
    harmed = to_pixels(attacked("adaptive", target, data, images, known))
    wanted = {
        rad: min(most[rad], ADAPTIVE_GAIN * operating_point(scores, images.labels, model.costs, threshold).efcy)
        for rad, threshold in model.thresholds.items()
    }
    return Target(ScoredFrames(harmed, images.labels, model, last), wanted)


def strong_stage(
    model: CalibratedModel,
    table: np.ndarray,
    targets: list[Target],
    harmless: Callable[[GateStage], bool],
    levels: np.ndarray = LEVELS,
) -> GateStage:
    """The strong stage with one table.

    At every level each RAD gets the highest threshold that reaches all ``targets``. Of the levels at which the stage is
    ``harmless`` to clean frames the lowest is taken, because it finds weaker attacks too; where there is no such level,
    the highest.

    Args:
        table: quantisation steps, (8, 8).
        levels: those to choose from, ascending; at least one is LEAST_STRONG or above.
    """
    chosen: GateStage | None = None
    for level in levels[levels >= LEAST_STRONG][::-1]:
        thresholds = {}
        for rad, threshold in model.thresholds.items():
            enough = [
                low
                for low in np.extract(threshold >= THRESHOLD_GRID, THRESHOLD_GRID).tolist()
                if all(
                    each.frames.at(rad, GateStage(level, {rad: low}, table)).efcy >= each.efcy[rad] for each in targets
                )
            ]
            thresholds[rad] = max(enough, default=0.0)
        stage = GateStage(float(level), thresholds, table)
        if chosen is None or harmless(stage):
            chosen = stage
    assert chosen is not None
    return chosen
