"""Everything that the report of a fit tells, and the questions that several of its sections ask."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from export.calibration.model import CalibratedModel
from export.data.images import Dataset
from export.data.scan_report import escaped
from export.evaluation.markdown import markdown_table
from export.evaluation.rows import ConditionRow
from export.fit.defence_steps import row_of
from export.fit.effort import Effort
from export.fit.pictures import Judged, confusion_counts
from export.fit.settings import FitSettings
from export.fit.state import StepRecord
from export.fit.traffic import Traffic

ATTACKS = {"clean": "clean", "linf": "attacked", "adaptive": "attacked by someone who knows the defence"}
DEFENCES = {"none": "none", "defq": "DefQ", "gated": "DefQ behind the gate"}


class Confusion(NamedTuple):
    """Test photographs of one class that the final classifier took for another."""

    photographs: int
    true: str
    answer: str


class Findings(NamedTuple):
    """Everything that the report tells.

    scan: the section of scan.md. final: test photographs with the answers of all exits. rows: the figures of the step measure.
    steps: the record of every step so far. photographs, model_folder, bundle: for the commands. split: number of exits on the
    device. traffic: what a frame takes that is sent to the host.
    """

    settings: FitSettings
    data: Dataset
    scan: str
    model: CalibratedModel
    effort: Effort
    final: Judged
    rows: list[ConditionRow]
    steps: dict[str, StepRecord]
    photographs: str
    model_folder: str
    bundle: str
    split: int
    traffic: Traffic

    def row(self, attack: str, defence: str) -> ConditionRow:
        """The figures of one condition."""
        return row_of(self.rows, attack, defence)

    def on_device(self, row: ConditionRow) -> float:
        """The share of photographs that leave on the device."""
        counts = row.exit_histogram
        return float(sum(counts[: self.split]) / max(1, sum(counts)))

    def exits_on_device(self) -> str:
        """Subject and verb of a sentence about them."""
        return "exit 1 is" if self.split == 1 else f"exits 1 to {self.split} are"

    def counts(self) -> list[np.ndarray]:
        """Photographs by class: to train, to calibrate, to test."""
        data = self.data
        classes = len(data.classes)
        return [np.bincount(part.labels, minlength=classes) for part in (data.train, data.calibration, data.test)]

    def confusions(self, most: int = 3) -> list[Confusion]:
        """What the final classifier confuses most often."""
        counts, classes = confusion_counts(self.final, len(self.data.classes)), self.data.classes
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts, axis=None, kind="stable")[:most]
        found = [
            (int(counts[at]), classes[at[0]], classes[at[1]])
            for at in zip(*np.unravel_index(order, counts.shape), strict=True)
        ]
        return [Confusion(*each) for each in found if each[0]]


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, whatever the names of classes hold."""
    return markdown_table([[escaped(cell) for cell in row] for row in rows])
