"""The conditions of an evaluation, attack x defence x RAD, each with one row of figures."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from device.errors import UsageError
from device.loop.exits import exit_histogram
from export.calibration.attacked_images import attacked, check_attack, scores_of
from export.calibration.cost import RADS, ExitScores, early_exit, operating_point, rad_threshold
from export.calibration.last_exit import up_to
from export.calibration.model import CalibratedModel
from export.calibration.table_file import TableFile
from export.data.frames import to_pixels
from export.data.images import Dataset, Images
from export.defences import Defence, defence_named, gated_until
from export.evaluation.rows import ConditionRow
from export.networks.weights import to_tensor

LOOP = "@loop"
"""A name of a defence that ends in this stands for the defence with thresholds that are calibrated behind it."""
LAST = "@last"
"""A name of a defence that ends in this stands for the defence before a network that ends at the last exit for the RAD
(export/calibration/last_exit.py)."""


class Condition(NamedTuple):
    """What images were shown to a network.

    attack, defence: their names. eight_bit: whether attacked images were rounded to 8 bits.
    """

    attack: str
    defence: str
    eight_bit: bool = True


def evaluate(
    model: CalibratedModel,
    data: Dataset,
    images: Images,
    attacks: Iterable[str],
    defences: Iterable[str | Defence],
    rads: Sequence[int] = RADS,
    eight_bit: bool = True,
    table: TableFile | None = None,
) -> list[ConditionRow]:
    """The figures of every condition.

    Args:
        data: its calibration images are used where an attack or a threshold is learned.
        images: those to attack and classify.
        attacks, defences: names (export.calibration.attacked_images, export.defences), or defences; a name that ends in ``@loop``
            gets thresholds calibrated behind the defence, one that ends in ``@last`` has frames leave at the last exit.
        rads: relative accuracy drops in percent.
        eight_bit: round attacked images to 8 bits, as a camera or a file delivers them.
        table: the table of DefQ; None: the one of the model.

    Raises:
        UsageError: there is no such attack or defence, the attack cannot be run on the defence, or a last exit or a gate is
            not calibrated for one of the RADs. All of this is checked before any image is attacked.
    """
    attacks = tuple(attacks)
    plans = [_plan(each, model, tuple(rads), table or model.table) for each in defences]
    for plan in plans:
        for defence, last, _ in plan.variants:
            for attack in attacks:
                check_attack(attack, _target(attack, model, last), defence)
    rows = []
    for plan in plans:
        thresholds = model.thresholds
        if plan.loop:
            thresholds = thresholds_behind(plan.defence, model, data.calibration)
        for attack in attacks:
            condition = Condition(attack, plan.name, eight_bit)
            for defence, last, its_rads in plan.variants:
                shown = attacked(attack, _target(attack, model, last), data, images, defence)
                scores = up_to(scores_of(model, defence(shown, eight_bit)), last)
                pixels = to_pixels(shown)
                for rad in its_rads:
                    threshold = defence.thresholds(pixels, rad, thresholds[rad])
                    found = measure(scores, images.labels, model, threshold, rad, condition)
                    rows.append(replace(found, threshold=thresholds[rad]))
    return rows


class _Variant(NamedTuple):
    """A defence for some of the RADs, before a network that ends at exit ``last``, from 1."""

    defence: Defence
    last: int
    rads: tuple[int, ...]


class _Plan(NamedTuple):
    """What the name of a defence stands for. loop: whether thresholds are calibrated behind it."""

    name: str
    defence: Defence
    loop: bool
    variants: list[_Variant]


def _plan(asked: str | Defence, model: CalibratedModel, rads: tuple[int, ...], table: TableFile | None) -> _Plan:
    """What ``asked`` stands for. table: the table of DefQ."""
    name = asked if isinstance(asked, str) else asked.name
    plain = name.removesuffix(LAST)
    defence = defence_named(plain.removesuffix(LOOP), table) if isinstance(asked, str) else asked
    if name.endswith(LAST):
        variants = [_until(defence, model, rad, table) for rad in rads]
    else:
        variants = [_Variant(defence, len(model.costs), rads)]
    for variant in variants:
        for stage in variant.defence.gate.stages if variant.defence.gate else ():
            if not set(variant.rads) <= set(stage.thresholds):
                raise UsageError(
                    f"found {name} for RAD {', '.join(map(str, variant.rads))} with a gate that knows {sorted(stage.thresholds)}; "
                    f"expected a gate for these; calibrate it with: defq gate --model {model.name}"
                )
    return _Plan(name, defence, plain.endswith(LOOP), variants)


def _until(defence: Defence, model: CalibratedModel, rad: int, table: TableFile | None) -> _Variant:
    """The defence before a network that ends at the last exit for one RAD. ``table`` may have a gate of its own for it."""
    last = model.last_exit(rad)
    if defence.name == "gated" and table is not None:
        defence = gated_until("gated", table, rad, last)
    return _Variant(defence, last, (rad,))


def _target(attack: str, model: CalibratedModel, last: int) -> CalibratedModel:
    """The network that the attacker knows. One who knows the defence also knows where the network ends."""
    return model.up_to_exit(last) if attack.startswith("adaptive") else model


def measure(
    scores: ExitScores,
    labels: np.ndarray,
    model: CalibratedModel,
    threshold: float | np.ndarray,
    rad: int,
    condition: Condition,
) -> ConditionRow:
    """T3-ER, EFCY, accuracy, mean cost and exit histogram at one threshold.

    Args:
        scores: of all exits, or of the first exits where the network ends at the last of these.
        labels: int (images,), the true classes.
        threshold: in [0, 1], one for all images or float (images,).
        rad: relative accuracy drop in percent that the row is about.
        condition: the attack and the defence behind the scores.
    """
    point = operating_point(scores, labels, model.costs[: len(scores.confidences)], threshold).rounded()
    exits, _ = early_exit(scores, threshold)
    return ConditionRow(
        model=model.name,
        attack=condition.attack,
        defence=condition.defence,
        pixels="8 bit" if condition.eight_bit else "float",
        images=len(labels),
        rad=rad,
        threshold=point.threshold,
        accuracy=point.accuracy,
        mean_cost=point.mean_cost,
        efcy=point.efcy,
        t3_er=point.t3_er,
        exit_histogram=tuple(exit_histogram(exits, len(model.costs)).tolist()),
    )


def thresholds_behind(defence: Defence, model: CalibratedModel, calibration: Images) -> dict[int, float]:
    """The threshold for each RAD where all images pass through the defence, from calibration images alone. The accuracy drop
    is relative to the accuracy of the final classifier behind the defence."""
    scores = scores_of(model, to_tensor(defence.pixels(calibration.pixels)))
    points = {rad: rad_threshold(scores, calibration.labels, model.costs, rad) for rad in model.thresholds}
    return {rad: point.threshold for rad, point in points.items()}
