"""Compares DefQ with other defences, and draws frontiers: what a defence restores against what it costs clean frames."""

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any

import numpy as np

from export.calibration.model import shipped_model
from export.calibration.table_reader import shipped_table
from export.data.images import Dataset
from export.defences import defence_named
from export.evaluation.conditions import LAST, LOOP, evaluate
from export.evaluation.learned_tables import ycbcr_defence, ycbcr_tables
from export.evaluation.markdown import markdown_table, reference
from export.evaluation.rows import ConditionRow
from export.evaluation.timing import interleaved

CONTENDERS = (
    "none", "defq", f"defq{LOOP}", "gated", f"none{LAST}", f"defq{LAST}", f"gated{LAST}", "flat", "transposed",
    "distillation", "jpeg:75", "jpeg:50", "jpeg:25", "bits:5", "bits:4", "bits:3", "median", "gaussian:0.5", "resizing",
    "moving-grid", "moving-grid+scale",
)  # fmt: skip
YCBCR_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)
SWEEPS = {
    "DefQ": [f"defq*{scale}" for scale in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)],
    "DefQ in YCbCr": [f"ycbcr*{scale}" for scale in YCBCR_SCALES],
    "flat table": [f"flat:{step}" for step in (10, 20, 30, 40, 50, 60, 80)],
    "feature distillation": [f"distillation*{scale}" for scale in (0.5, 1.0, 1.5, 2.0, 3.0)],
    "JPEG": [f"jpeg:{quality}" for quality in (95, 90, 75, 50, 25, 10)],
    "bit depth": [f"bits:{bits}" for bits in (6, 5, 4, 3, 2)],
    "Gaussian blur": [f"gaussian:{sigma}" for sigma in (0.4, 0.5, 0.6, 0.8)],
    "random resizing": [f"resizing:{smallest}" for smallest in (0.95, 0.9, 0.8, 0.7)],
    "median 3 x 3": ["median"],
    "DefQ behind the noise gate": ["gated"],
    "DefQ, table searched": ["searched"],  # last: it has the colour of DefQ, and not every network has one
}
ADAPTIVE = ("none", "defq", "gated", "moving-grid", f"none{LAST}", f"defq{LAST}", f"gated{LAST}")
SIZES = ((32, 32), (480, 640))


def compare(data: Dataset, models: tuple[str, ...], images: dict[str, int]) -> list[ConditionRow]:
    """Every contender on the same frames with the same thresholds. images: number of test images for each attack."""
    rows: list[ConditionRow] = []
    for name in models:
        model = shipped_model(name)
        for attack, count in images.items():
            rows += evaluate(model, data, data.test.take(count), (attack,), CONTENDERS)
        print(f"{name}: compared", flush=True)
    return rows


def sweep(data: Dataset, models: tuple[str, ...], images: int) -> list[ConditionRow]:
    """Every family of defences from weak to strong, on clean frames and under L-inf. images: number of test images."""
    rows: list[ConditionRow] = []
    for name in models:
        model = shipped_model(name)
        tables = ycbcr_tables(model, data)
        colour = {f"ycbcr*{scale}": ycbcr_defence(f"ycbcr*{scale}", tables * scale) for scale in YCBCR_SCALES}
        searched = model.table is not None and model.table.searched is not None
        families = [names for names in SWEEPS.values() if searched or names != ["searched"]]
        for names in (["none"], *families):
            defences = [colour.get(name, name) for name in names]
            rows += evaluate(model, data, data.test.take(images), ("clean", "linf"), defences)
        print(f"{name}: swept", flush=True)
    return rows


def attackers(images: Mapping[int, int]) -> dict[str, int]:
    """The attackers of the adaptive report, with the number of test images for each. They know less than DeepSloth (one
    perturbation for all images, or for each class), as much as DeepSloth, or the defence too. One changes all colour channels
    alike, which the noise gate does not see.

    Args:
        images: for each number of steps of the adaptive attack the number of test images. The other attackers get the
            largest of these.
    """
    others = dict.fromkeys(("clean", "universal", "class-universal", "linf", "grey"), max(images.values()))
    return {**others, **{f"adaptive:{steps}": count for steps, count in images.items()}}


def adapt(data: Dataset, models: tuple[str, ...], images: dict[str, int]) -> list[ConditionRow]:
    """Each defence under each of ``attackers``. images: number of test images for each."""
    rows: list[ConditionRow] = []
    for name in models:
        model = shipped_model(name)
        for attack, count in images.items():
            rows += evaluate(model, data, data.test.take(count), (attack,), ADAPTIVE)
        print(f"{name}: adapted", flush=True)
    return rows


def times(names: tuple[str, ...] = CONTENDERS, model: str = "vgg16") -> dict[str, dict[str, float]]:
    """Run time of each defence on one frame of each size, in microseconds."""
    generator, table = np.random.default_rng(0), shipped_table(model)
    found: dict[str, dict[str, float]] = {}
    for height, width in SIZES:
        y, x = np.mgrid[:height, :width]
        waves = 128 + 60 * np.sin(x / 9)[..., None] + 50 * np.cos(y / 7)[..., None]
        frame = np.clip(waves + generator.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)
        calls: dict[str, Callable[[], Any]] = {
            name: partial(defence_named(name, table).frame, frame, generator)
            for name in names
            if name != "none" and not name.endswith((LOOP, LAST))
        }
        for name, value in interleaved(calls, rounds=9).items():
            found.setdefault(name, {})[f"{width}x{height}"] = value
    return found


def comparison_report(rows: list[ConditionRow], title: str, took: dict[str, dict[str, float]], rad: int = 5) -> str:
    """Markdown: per network T3-ER / EFCY / accuracy of every contender under every attack at one RAD."""
    parts = [
        f"# Side by side, RAD {rad} %",
        "",
        "T3-ER / EFCY / accuracy; times in µs on one frame, one thread.",
        "",
        reference(rows, title),
    ]
    for model in dict.fromkeys(row.model for row in rows):
        lines = [["defence", "clean", "linf", "l2", "l1", "µs 32x32", "µs 640x480"]]
        for name in CONTENDERS:
            found = {row.attack: row for row in rows if (row.model, row.defence, row.rad) == (model, name, rad)}
            if not found:  # these are rows of an earlier release without this defence
                continue
            cells = [f"{row.t3_er:.2f} / {row.efcy:.2f} / {row.accuracy:.2f}" for row in found.values()]
            lines.append(
                [name, *cells, *([f"{value:.0f}" for value in took[name].values()] if name in took else ["", ""])]
            )
        parts += ["", f"## {model}", "", markdown_table(lines)]
    return "\n".join(parts) + "\n"


def adaptive_report(rows: list[ConditionRow], title: str, rad: int = 5) -> str:
    """Markdown: EFCY / accuracy of each defence under attackers who know more and more of it."""
    attacks = list(dict.fromkeys(row.attack for row in rows))
    parts = [f"# Attackers by what they know, RAD {rad} %", "", "EFCY / accuracy.", "", reference(rows, title)]
    for model in dict.fromkeys(row.model for row in rows):
        lines = [["defence", *attacks]]
        for name in ADAPTIVE:
            found = [row for row in rows if (row.model, row.defence, row.rad) == (model, name, rad)]
            if found:
                lines.append([name, *(f"{row.efcy:.2f} / {row.accuracy:.2f}" for row in found)])
        parts += ["", f"## {model}", "", markdown_table(lines)]
    return "\n".join(parts) + "\n"


@dataclass(frozen=True)
class FrontierPoint:
    """What a defence restores and what it costs.

    Args:
        clean_loss: accuracy that clean frames lose.
        efcy_kept: EFCY of clean frames. This and the following are shares of what clean frames have without a defence.
        efcy_restored, accuracy_restored: of attacked frames.
    """

    clean_loss: float
    efcy_kept: float
    efcy_restored: float
    accuracy_restored: float


def frontier_points(rows: list[ConditionRow], model: str, rad: int) -> dict[str, list[FrontierPoint]]:
    """The points of the frontier, by family of defences."""
    found = {(row.attack, row.defence): row for row in rows if (row.model, row.rad) == (model, rad)}
    base = found["clean", "none"]
    points: dict[str, list[FrontierPoint]] = {}
    for family, names in SWEEPS.items():
        for name in names:
            if ("clean", name) not in found:
                continue
            clean, harmed = found["clean", name], found["linf", name]
            points.setdefault(family, []).append(
                FrontierPoint(
                    clean_loss=base.accuracy - clean.accuracy,
                    efcy_kept=clean.efcy / base.efcy,
                    efcy_restored=harmed.efcy / base.efcy,
                    accuracy_restored=harmed.accuracy / base.accuracy,
                )
            )
    return points


def frontier_report(rows: list[ConditionRow], title: str) -> str:
    """Markdown: every point of the frontiers."""
    parts = [
        "# Frontiers: what a defence restores under L-inf for what it costs clean frames",
        "",
        "Clean loss: accuracy lost on clean frames. The others are shares of what clean frames have without a defence: "
        "EFCY kept on clean frames, EFCY and accuracy restored on attacked ones. Weak to strong in each family.",
        "",
        reference(rows, title),
    ]
    for model in dict.fromkeys(row.model for row in rows):
        for rad in dict.fromkeys(row.rad for row in rows):
            lines = [["family", "setting", "clean loss", "EFCY kept", "EFCY restored", "accuracy restored"]]
            for family, points in frontier_points(rows, model, rad).items():
                for name, point in zip(SWEEPS[family], points, strict=True):
                    lines.append([family, name, *(f"{value:.3f}" for value in astuple(point))])
            parts += ["", f"## {model}, RAD {rad} %", "", markdown_table(lines)]
    return "\n".join(parts) + "\n"
