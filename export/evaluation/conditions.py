"""Attacks x defences x thresholds: one row of figures for each."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from device.errors import UsageError
from device.loop.exits import exit_histogram
from export.calibration.attacked_images import attacked, check_attack, scores_of
from export.calibration.cost import ExitScores, early_exit, operating_point, rad_threshold
from export.calibration.last_exit import up_to
from export.calibration.model import CalibratedModel
from export.calibration.table_file import TableFile
from export.data.frames import to_pixels
from export.data.images import Dataset, Images
from export.defences import Defence, defence_named, gated_until
from export.networks.weights import to_tensor

LOOP = "@loop"
"""A defence's name with this at its end: the same defence, with thresholds calibrated behind it."""
LAST = "@last"
"""With this at its end: the same defence, and frames leave at the RAD's last exit at the latest (export.calibration.last_exit)."""


def evaluate(
    model: CalibratedModel,
    data: Dataset,
    images: Images,
    attacks: Iterable[str],
    defences: Iterable[str | Defence],
    rads: Sequence[int] = (5, 10),
    eight_bit: bool = True,
    table: TableFile | None = None,
) -> list[dict[str, Any]]:
    """Figures of every combination, JSON-ready.

    Args:
        images: those to attack and classify.
        attacks, defences: names (export.calibration.attacked_images, export.defences), or defences; a name that ends in ``@loop``
            gets thresholds calibrated behind the defence, one that ends in ``@last`` has frames leave at the last exit.
        eight_bit: attacked images are rounded to 8 bits, as a camera or a file delivers them.
        table: the one that DefQ takes, if not the model's own.

    Raises:
        UsageError: no such attack or defence, one that cannot stand against the other, or a last exit or a gate that was
            not calibrated for a RAD; all before anything is crafted.
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
            about = {
                "model": model.name,
                "attack": attack,
                "defence": plan.name,
                "pixels": "8 bit" if eight_bit else "float",
                "images": len(images.labels),
            }
            for defence, last, its_rads in plan.variants:
                shown = attacked(attack, _target(attack, model, last), data, images, defence)
                scores = up_to(scores_of(model, defence(shown, eight_bit)), last)
                pixels = to_pixels(shown)
                for rad in its_rads:
                    threshold = defence.thresholds(pixels, rad, thresholds[rad])
                    found = measure(scores, images.labels, model, threshold, rad)
                    rows.append({**about, **found, "threshold": thresholds[rad]})
    return rows


class _Variant(NamedTuple):
    """A defence for some of the RADs; frames leave at ``last``, from 1, at the latest."""

    defence: Defence
    last: int
    rads: tuple[int, ...]


class _Plan(NamedTuple):
    """What a name of a defence asks for. loop: thresholds are calibrated behind it."""

    name: str
    defence: Defence
    loop: bool
    variants: list[_Variant]


def _plan(asked: str | Defence, model: CalibratedModel, rads: tuple[int, ...], table: TableFile | None) -> _Plan:
    """table: the one that DefQ takes."""
    name = asked if isinstance(asked, str) else asked.name
    plain = name.removesuffix(LAST)
    defence = defence_named(plain.removesuffix(LOOP), table) if isinstance(asked, str) else asked
    if name.endswith(LAST):
        variants = [_until(defence, model, rad, table) for rad in rads]
    else:
        variants = [_Variant(defence, len(model.costs), rads)]
    for variant in variants:
        for stage in variant.defence.gate.stages() if variant.defence.gate else ():
            if not set(variant.rads) <= set(stage.thresholds):
                raise UsageError(
                    f"found {name} for RAD {', '.join(map(str, variant.rads))} with a gate that knows {sorted(stage.thresholds)}; "
                    f"expected a gate for these; calibrate it with: python -m export gate --model {model.name}"
                )
    return _Plan(name, defence, plain.endswith(LOOP), variants)


def _until(defence: Defence, model: CalibratedModel, rad: int, table: TableFile | None) -> _Variant:
    """A defence where frames leave at the last exit for one RAD: the gate of ``table`` has other settings there."""
    last = model.last_exit(rad)
    if defence.name == "gated" and table is not None:
        defence = gated_until("gated", table, rad, last)
    return _Variant(defence, last, (rad,))


def _target(attack: str, model: CalibratedModel, last: int) -> CalibratedModel:
    """What the attacker looks at: one who knows the defence knows of a last exit too."""
    return model.up_to_exit(last) if attack.startswith("adaptive") else model


def measure(
    scores: ExitScores, labels: np.ndarray, model: CalibratedModel, threshold: float | np.ndarray, rad: int
) -> dict[str, Any]:
    """T3-ER, EFCY, accuracy, mean cost and exit histogram at one threshold, or one an image.

    scores: of all exits, or of the first ones alone, where images leave at the last of them."""
    point = operating_point(scores, labels, model.costs[: len(scores.confidences)], threshold)
    exits, _ = early_exit(scores, threshold)
    kept = {name: round(value, 4) for name, value in point._asdict().items()}
    return {"rad": rad, **kept, "exit_histogram": exit_histogram(exits, len(model.costs)).tolist()}


def thresholds_behind(defence: Defence, model: CalibratedModel, calibration: Images) -> dict[int, float]:
    """RAD thresholds with the defence in the loop, from calibration images alone: relative to the accuracy that the
    final classifier has behind the defence."""
    scores = scores_of(model, to_tensor(defence.pixels(calibration.pixels)))
    points = {rad: rad_threshold(scores, calibration.labels, model.costs, rad) for rad in model.thresholds}
    return {rad: point.threshold for rad, point in points.items()}
