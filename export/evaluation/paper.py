"""Tables I to IV of the paper, with its figures and ours side by side."""

from collections.abc import Callable

from export.calibration.cost import RADS
from export.calibration.model import shipped_model
from export.data.images import Dataset
from export.evaluation.conditions import evaluate
from export.evaluation.markdown import markdown_table, reference
from export.evaluation.rows import ConditionRow

MODELS = ("vgg16", "resnet56", "mobilenet")
TITLES = {"vgg16": "VGG-16", "resnet56": "ResNet-56", "mobilenet": "MobileNet"}
ATTACKS = ("clean", "linf", "l2", "l1")
RANGES = ((20, 60), (20, 80), (20, 100))

# As printed in the paper: without DefQ at RAD 5 and 10, then with DefQ at RAD 5 and 10.
PAPER: dict[str, dict[str, dict[str, tuple[float, float, float, float]]]] = {
    "t3_er": {
        "clean": {"vgg16": (0.55, 0.70, 0.54, 0.69), "resnet56": (0.20, 0.34, 0.21, 0.34), "mobilenet": (0.53, 0.77, 0.57, 0.81)},
        "linf": {"vgg16": (0.00, 0.00, 0.26, 0.41), "resnet56": (0.00, 0.00, 0.07, 0.12), "mobilenet": (0.00, 0.05, 0.27, 0.48)},
        "l2": {"vgg16": (0.35, 0.50, 0.45, 0.58), "resnet56": (0.09, 0.21, 0.14, 0.26), "mobilenet": (0.36, 0.57, 0.44, 0.69)},
        "l1": {"vgg16": (0.27, 0.40, 0.34, 0.56), "resnet56": (0.08, 0.17, 0.11, 0.21), "mobilenet": (0.27, 0.45, 0.30, 0.61)},
    },
    "efcy": {
        "clean": {"vgg16": (0.78, 0.85, 0.76, 0.84), "resnet56": (0.56, 0.69, 0.54, 0.67), "mobilenet": (0.82, 0.92, 0.81, 0.92)},
        "linf": {"vgg16": (0.02, 0.06, 0.53, 0.66), "resnet56": (0.00, 0.01, 0.44, 0.41), "mobilenet": (0.01, 0.06, 0.55, 0.76)},
        "l2": {"vgg16": (0.42, 0.57, 0.66, 0.78), "resnet56": (0.16, 0.27, 0.44, 0.58), "mobilenet": (0.43, 0.65, 0.70, 0.85)},
        "l1": {"vgg16": (0.31, 0.45, 0.52, 0.76), "resnet56": (0.12, 0.21, 0.30, 0.55), "mobilenet": (0.31, 0.54, 0.59, 0.79)},
    },
    "accuracy": {
        "clean": {"vgg16": (0.84, 0.80, 0.82, 0.78), "resnet56": (0.80, 0.75, 0.77, 0.72), "mobilenet": (0.78, 0.73, 0.76, 0.72)},
        "linf": {"vgg16": (0.13, 0.16, 0.72, 0.70), "resnet56": (0.21, 0.21, 0.69, 0.67), "mobilenet": (0.21, 0.24, 0.67, 0.66)},
        "l2": {"vgg16": (0.67, 0.68, 0.79, 0.75), "resnet56": (0.57, 0.58, 0.73, 0.70), "mobilenet": (0.61, 0.62, 0.74, 0.71)},
        "l1": {"vgg16": (0.52, 0.57, 0.71, 0.69), "resnet56": (0.45, 0.48, 0.71, 0.70), "mobilenet": (0.54, 0.59, 0.70, 0.66)},
    },
}  # fmt: skip
METRICS: dict[str, Callable[[ConditionRow], float]] = {
    "t3_er": lambda row: row.t3_er,
    "efcy": lambda row: row.efcy,
    "accuracy": lambda row: row.accuracy,
}
TABLE_NAMES = {"t3_er": "Table I: T3-ER", "efcy": "Table II: EFCY", "accuracy": "Table III: accuracy"}
# VGG-16 under L-inf: T3-ER, EFCY, accuracy at RAD 5, then at RAD 10
PAPER_RANGES = {
    (20, 60): (0.26, 0.53, 0.72, 0.41, 0.66, 0.70),
    (20, 80): (0.25, 0.54, 0.72, 0.38, 0.63, 0.72),
    (20, 100): (0.27, 0.55, 0.70, 0.42, 0.65, 0.71),
}

Lookup = Callable[..., ConditionRow | None]


def collect(data: Dataset, models: tuple[str, ...], images: dict[str, int]) -> list[ConditionRow]:
    """Rows of every condition of Tables I to IV.

    Args:
        images: number of test images for each of ATTACKS. L2 and L1 take 18 and 8 times as long to craft as L-inf.
    """
    rows: list[ConditionRow] = []
    for name in models:
        model = shipped_model(name)
        for eight_bit in (True, False):
            for attack in ATTACKS:
                chosen = data.test.take(images[attack])
                rows += evaluate(model, data, chosen, (attack,), ("none", "defq"), RADS, eight_bit)
        print(f"{name}: done", flush=True)
    if "vgg16" in models:
        names = [f"defq:{low}-{high}" for low, high in RANGES]
        rows += evaluate(shipped_model("vgg16"), data, data.test.take(images["linf"]), ("linf",), names, RADS)
    return rows


def report(rows: list[ConditionRow], title: str) -> str:
    """Tables I to IV as Markdown: in every cell the paper's figure, then ours."""
    models = [model for model in MODELS if any(row.model == model for row in rows)]
    parts = [
        "# The paper's tables, its figures and ours",
        "",
        "In every cell: the paper's figure / ours. Arrows lead from no defence to DefQ with the table of range 20 to 60. "
        "Attacked images are rounded to 8 bits, as a camera or a file delivers them; float images, as in the papers, are at the end "
        "and in [paper.csv](paper.csv).",
        "",
        reference(rows, title),
    ]
    for metric, heading in TABLE_NAMES.items():
        parts += ["", f"## {heading}", "", _table(rows, metric, models)]
    if "vgg16" in models:
        parts += ["", "## Table IV: ranges of the steps, VGG-16 under L-inf", "", _ranges(rows)]
    parts += ["", "## The same with float images", "", _float(rows, models)]
    return "\n".join(parts) + "\n"


def lookup(rows: list[ConditionRow]) -> Lookup:
    """A function that finds the row of a condition, or None where it was not run."""
    index = {(row.model, row.attack, row.defence, row.rad, row.pixels): row for row in rows}

    def find(model: str, attack: str, defence: str, rad: int, pixels: str = "8 bit") -> ConditionRow | None:
        return index.get((model, attack, defence, rad, pixels))

    return find


def _table(rows: list[ConditionRow], metric: str, models: list[str]) -> str:
    find = lookup(rows)
    lines = [["attack", *(f"{TITLES[model]}, RAD {rad}" for model in models for rad in RADS)]]
    for attack in ATTACKS:
        cells = []
        for model in models:
            for column, rad in enumerate(RADS):
                theirs = PAPER[metric][attack][model]
                before, after = find(model, attack, "none", rad), find(model, attack, "defq", rad)
                ours = (
                    f"**{METRICS[metric](before):.2f} -> {METRICS[metric](after):.2f}**"
                    if before and after
                    else "not run"
                )
                cells.append(f"{theirs[column]:.2f} -> {theirs[column + 2]:.2f} / {ours}")
        lines.append([attack, *cells])
    return markdown_table(lines)


def _ranges(rows: list[ConditionRow]) -> str:
    find = lookup(rows)
    names = [f"{name}, RAD {rad}" for rad in RADS for name in ("T3-ER", "EFCY", "accuracy")]
    lines = [["range", *names]]
    for (low, high), theirs in PAPER_RANGES.items():
        found = [find("vgg16", "linf", f"defq:{low}-{high}", rad) for rad in RADS]
        ours = [figure for row in found if row for figure in (row.t3_er, row.efcy, row.accuracy)]
        lines.append([f"{low}-{high}", *(f"{a:.2f} / **{b:.2f}**" for a, b in zip(theirs, ours, strict=True))])
    return markdown_table(lines)


def _float(rows: list[ConditionRow], models: list[str]) -> str:
    find = lookup(rows)
    lines = [["attack", *(f"{TITLES[model]}, RAD {rad}: EFCY" for model in models for rad in RADS)]]
    for attack in ATTACKS:
        cells = []
        for model in models:
            for rad in RADS:
                pair = [find(model, attack, defence, rad, "float") for defence in ("none", "defq")]
                cells.append(" -> ".join(f"{row.efcy:.2f}" for row in pair if row))
        lines.append([attack, *cells])
    return markdown_table(lines)
