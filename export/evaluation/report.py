"""What all reports share: Markdown tables, CSV, and the facts a figure means little without."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
"""What evaluate() gives: one dictionary a condition."""


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A table whose first line is the heading."""
    heading, *body = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([heading, "|" + "---|" * len(lines[0]), *body])


def write_csv(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """All rows, one column a figure; the exit histogram as one cell of numbers."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "exit_histogram": " ".join(map(str, row["exit_histogram"]))})


def reference(rows: Sequence[dict[str, Any]]) -> str:
    """On how many images each attack was run, and the thresholds."""
    images = {row["attack"]: row["images"] for row in rows}
    thresholds = {
        (row["model"], row["rad"]): row["threshold"]
        for row in rows
        if row["defence"] in ("none", "defq", "moving-grid")
    }
    return (
        "CIFAR-10 test images: "
        + ", ".join(f"{attack} the first {count}" for attack, count in images.items())
        + ". Thresholds, chosen on calibration images without a defence: "
        + ", ".join(f"{model} RAD {rad} {value:.2f}" for (model, rad), value in thresholds.items())
        + "."
    )
