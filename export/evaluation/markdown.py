"""Markdown that reports share."""

from collections.abc import Sequence

from export.evaluation.rows import ConditionRow


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table. The first of ``lines`` is the heading."""
    heading, *body = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([heading, "|" + "---|" * len(lines[0]), *body])


def reference(rows: Sequence[ConditionRow], title: str) -> str:
    """A sentence on the number of images for each attack, and on the thresholds.

    Args:
        title: what the images are called (Dataset.test_title).
    """
    images = {row.attack: row.images for row in rows}
    thresholds = {(row.model, row.rad): row.threshold for row in rows if row.defence in ("none", "defq", "moving-grid")}
    return (
        f"{title}: "
        + ", ".join(f"{attack} the first {count}" for attack, count in images.items())
        + ". Thresholds, chosen on calibration images without a defence: "
        + ", ".join(f"{model} RAD {rad} {value:.2f}" for (model, rad), value in thresholds.items())
        + "."
    )
