"""A table that was searched instead of learned, as table.json holds it under ``searched``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from export.calibration.json_fields import Fields

FIGURES = ("bound", "restored", "attacked_accuracy", "clean_loss")


@dataclass(frozen=True, slots=True, eq=False)
class SearchedTable:
    """A table and what it gives on calibration images.

    Args:
        table: quantisation steps, (8, 8).
        bound: accuracy that clean images were allowed to lose at any RAD.
        restored: share of the EFCY of clean images that images under L-inf have behind the table; mean over RADs.
        attacked_accuracy: accuracy of images under L-inf behind the table; mean over RADs.
        clean_loss: the largest accuracy that clean images lose at any RAD; below 0 where they gain.
        images: number of calibration images by kind: clean, or the attack.
        weights_sha256: of the file of the weights that the table was searched for.
    """

    table: np.ndarray
    bound: float | None = None
    restored: float | None = None
    attacked_accuracy: float | None = None
    clean_loss: float | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    weights_sha256: str | None = None

    def as_json(self) -> dict[str, Any]:
        figures = {name: getattr(self, name) for name in FIGURES}
        content: dict[str, Any] = {
            "table": self.table.tolist(),
            **{name: value for name, value in figures.items() if value is not None},
        }
        if self.images:
            content["images"] = dict(self.images)
        if self.weights_sha256 is not None:
            content["weights_sha256"] = self.weights_sha256
        return content


def searched_from_json(fields: Fields) -> SearchedTable:
    """The searched table that a JSON object holds.

    Raises:
        ValueError: a value is absent or not what it has to be; the message names it.
    """
    return SearchedTable(
        fields.table("table"),
        **{name: fields.number(name, -1) for name in FIGURES if name in fields},
        images=fields.counts("images") if "images" in fields else {},
        weights_sha256=fields.text("weights_sha256") if "weights_sha256" in fields else None,
    )
