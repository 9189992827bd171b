"""The report "comparison": DefQ and other defences side by side."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from export.calibration.model import shipped_model
from export.calibration.table_reader import shipped_table
from export.data.images import Dataset
from export.defences import defence_named
from export.evaluation.conditions import LAST, LOOP, evaluate
from export.evaluation.markdown import markdown_table, reference
from export.evaluation.rows import ConditionRow
from export.evaluation.timing import interleaved

CONTENDERS = (
    "none", "defq", f"defq{LOOP}", "gated", f"none{LAST}", f"defq{LAST}", f"gated{LAST}", "flat", "transposed",
    "distillation", "jpeg:75", "jpeg:50", "jpeg:25", "bits:5", "bits:4", "bits:3", "median", "gaussian:0.5", "resizing",
    "moving-grid", "moving-grid+scale",
)  # fmt: skip
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
