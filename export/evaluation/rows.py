"""What all reports share: Markdown tables, CSV, and the facts that belong to every figure."""

import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from device.errors import DataError
from export.attacks.crafting import gradients
from export.data.images import Dataset
from export.data.output import write_output

Rows = list[dict[str, Any]]
"""What evaluate() gives: one dictionary a condition."""


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table. The first of ``lines`` is the heading."""
    heading, *body = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([heading, "|" + "---|" * len(lines[0]), *body])


def write_csv(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Write all rows with one column for each figure. The exit histogram is one cell with a number for each exit.

    Raises:
        OutputError: the file cannot be written.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "exit_histogram": " ".join(map(str, row["exit_histogram"]))})
    write_output(file, stream.getvalue())


def read_csv(file: Path) -> Rows:
    """The rows that ``write_csv`` wrote; none where there is no such file.

    Raises:
        DataError: the file holds something else.
    """
    try:
        with file.open(newline="") as stream:
            return [{name: _value(name, text) for name, text in row.items()} for row in csv.DictReader(stream)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(f"could not read {file} ({error}); expected the rows of a report; delete it") from error


def _value(name: str, text: str) -> Any:
    if name == "exit_histogram":
        return [int(count) for count in text.split()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text or None


def others(file: Path, models: Sequence[str], images: Mapping[str, int], **columns: int) -> Rows:
    """The rows of a report that is there already which are about other networks than ``models``.

    Args:
        file: the report as CSV.
        models: the networks that new rows will be about.
        images: number of test images of the new rows, for each attack.
        columns: other numbers of images, by the name of their column.

    Raises:
        DataError: the kept rows are about other numbers of images, so that one table cannot hold both.
    """
    kept = [row for row in read_csv(file) if row["model"] not in models and row.get("source") not in models]
    for row in kept:
        attack = row.get("attack", "")
        wanted = {**columns, **({"images": images[attack]} if attack in images else {})}
        for column, count in wanted.items():
            if row.get(column) != count:
                under = f" under {attack}" if attack else ""
                raise DataError(
                    f"found {row.get(column)} {column.replace('_', ' ')} of {row['model']}{under} in {file}, {count} for this "
                    "run; expected as many; name the same numbers of images, or write elsewhere with --out"
                )
    return kept


def in_order(rows: Rows, models: Sequence[str]) -> Rows:
    """Rows by network, and by the network that a table or an attack comes from, in the order of ``models``."""

    def place(row: dict[str, Any]) -> tuple[int, int]:
        source = row.get("source")
        return models.index(row["model"]), models.index(source) if source in models else len(models)

    return sorted(rows, key=place)


def reference(rows: Sequence[dict[str, Any]], title: str) -> str:
    """A sentence on the number of images for each attack, and on the thresholds.

    Args:
        title: what the images are called (Dataset.test_title).
    """
    images = {row["attack"]: row["images"] for row in rows}
    thresholds = {
        (row["model"], row["rad"]): row["threshold"]
        for row in rows
        if row["defence"] in ("none", "defq", "moving-grid")
    }
    return (
        f"{title}: "
        + ", ".join(f"{attack} the first {count}" for attack, count in images.items())
        + ". Thresholds, chosen on calibration images without a defence: "
        + ", ".join(f"{model} RAD {rad} {value:.2f}" for (model, rad), value in thresholds.items())
        + "."
    )


def facts(data: Dataset) -> dict[str, object]:
    """The facts that belong to every figure: data, versions and machine."""
    return {
        "data": data.name,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gradients": gradients(),
        "machine": platform.machine(),
    }


def write_json(file: Path, content: object) -> None:
    write_output(file, json.dumps(content, indent=1) + "\n")
