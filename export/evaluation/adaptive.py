"""The report "adaptive": each defence under attackers who know more and more of it."""

from collections.abc import Mapping

from export.calibration.model import shipped_model
from export.data.images import Dataset
from export.evaluation.conditions import LAST, evaluate
from export.evaluation.markdown import markdown_table, reference
from export.evaluation.rows import ConditionRow

ADAPTIVE = ("none", "defq", "gated", "moving-grid", f"none{LAST}", f"defq{LAST}", f"gated{LAST}")


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
