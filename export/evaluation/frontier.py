"""The report "frontier": what each defence restores, from weak to strong, against what it costs clean frames."""

from dataclasses import astuple, dataclass

from export.calibration.model import shipped_model
from export.data.images import Dataset
from export.evaluation.conditions import evaluate
from export.evaluation.learned_tables import ycbcr_defence, ycbcr_tables
from export.evaluation.markdown import markdown_table, reference
from export.evaluation.rows import ConditionRow

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
