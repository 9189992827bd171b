"""Attacks x defences x thresholds: one row of figures for each."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from device.exits import exit_histogram
from export.calibration import ExitScores, early_exit, operating_point, rad_threshold
from export.datasets import Dataset, Images
from export.defences import Defence, defence_named, gated_until
from export.evaluation.subject import Subject, attacked, last_exit_of, scores_of, up_to_exit
from export.frames import to_pixels
from export.last_exit import up_to
from export.weights import to_tensor

LOOP = "@loop"
"""A defence's name with this at its end: the same defence, with thresholds calibrated behind it."""
LAST = "@last"
"""With this at its end: the same defence, and frames leave at the RAD's last exit at the latest (export.last_exit)."""


def evaluate(
    subject: Subject,
    data: Dataset,
    images: Images,
    attacks: Iterable[str],
    defences: Iterable[str | Defence],
    rads: Sequence[int] = (5, 10),
    eight_bit: bool = True,
    tables_of: str | None = None,
) -> list[dict[str, Any]]:
    """Figures of every combination, JSON-ready.

    Args:
        images: those to attack and classify.
        attacks, defences: names (export.evaluation.subject, export.defences), or defences; a name that ends in ``@loop``
            gets thresholds calibrated behind the defence, one that ends in ``@last`` has frames leave at the last exit.
        eight_bit: attacked images are rounded to 8 bits, as a camera or a file delivers them.
        tables_of: the model whose tables DefQ takes, if not the subject's own.

    Raises:
        UsageError: no such attack or defence, or a last exit that was not calibrated.
    """
    rows = []
    for each in defences:
        name = each if isinstance(each, str) else each.name
        plain = name.removesuffix(LAST)
        defence = defence_named(plain.removesuffix(LOOP), tables_of or subject.model) if isinstance(each, str) else each
        variants = [(defence, len(subject.costs), tuple(rads))]
        if name.endswith(LAST):
            variants = [_until(defence, subject, rad, tables_of or subject.model) for rad in rads]
        thresholds = subject.thresholds
        if plain.endswith(LOOP):
            thresholds = thresholds_behind(defence, subject, data.calibration)
        for attack in attacks:
            about = {
                "model": subject.model,
                "attack": attack,
                "defence": name,
                "pixels": "8 bit" if eight_bit else "float",
                "images": len(images.labels),
            }
            for variant, last, its_rads in variants:
                target = up_to_exit(subject, last) if attack.startswith("adaptive") else subject
                shown = attacked(attack, target, data, images, variant)
                scores = up_to(scores_of(subject, variant(shown, eight_bit)), last)
                pixels = to_pixels(shown)
                for rad in its_rads:
                    threshold = variant.thresholds(pixels, rad, thresholds[rad])
                    found = measure(scores, images.labels, subject, threshold, rad)
                    rows.append({**about, **found, "threshold": thresholds[rad]})
    return rows


def _until(defence: Defence, subject: Subject, rad: int, model: str) -> tuple[Defence, int, tuple[int, ...]]:
    """A defence where frames leave at the last exit for one RAD: the gate of ``model`` has other settings there."""
    last = last_exit_of(subject, rad)
    if defence.name == "gated":
        defence = gated_until("gated", model, rad, last)
    return defence, last, (rad,)


def measure(
    scores: ExitScores, labels: np.ndarray, subject: Subject, threshold: float | np.ndarray, rad: int
) -> dict[str, Any]:
    """T3-ER, EFCY, accuracy, mean cost and exit histogram at one threshold, or one an image.

    scores: of all exits, or of the first ones alone, where images leave at the last of them."""
    point = operating_point(scores, labels, subject.costs[: len(scores.confidences)], threshold)
    exits, _ = early_exit(scores, threshold)
    kept = {name: round(value, 4) for name, value in point._asdict().items()}
    return {"rad": rad, **kept, "exit_histogram": exit_histogram(exits, len(subject.costs)).tolist()}


def thresholds_behind(defence: Defence, subject: Subject, calibration: Images) -> dict[int, float]:
    """RAD thresholds with the defence in the loop, from calibration images alone: relative to the accuracy that the
    final classifier has behind the defence."""
    scores = scores_of(subject, to_tensor(defence.pixels(calibration.pixels)))
    points = {rad: rad_threshold(scores, calibration.labels, subject.costs, rad) for rad in subject.thresholds}
    return {rad: point.threshold for rad, point in points.items()}
