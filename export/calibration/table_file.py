"""table.json: Q_def, how it was learned, and everything that was calibrated with it.

The device reads the table, the gate and the monitor of the same file (device/bundle/calibration.py).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from device.bundle.calibration import check_table_file
from device.errors import DataError, UsageError
from export.attacks.base import PerSampleAttack
from export.calibration.attack_record import AttackRecord
from export.calibration.gate_file import GateFile
from export.calibration.monitor_file import MonitorFile
from export.calibration.searched_table import SearchedTable
from export.calibration.table import LearnedTable, TableSettings, table_from_ratios
from export.data.output import write_output

FORMAT, FORMAT_VERSION = "defq-table", 1
PARTS = {"gate": "gate", "monitor": "monitor", "searched": "search", "last_exit_gates": "gate"}
"""What may be calibrated with a table, and the command that does it."""

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True, eq=False)
class TableFile:
    """A table with everything that was calibrated with it. All parts but ``steps`` may be absent.

    Args:
        steps: Q_def, (8, 8), in units of pixels 0..255.
        model: name of the network.
        range: lowest and highest step that Algorithm 1 was to give.
        mean_ratios: the mean ratios of Algorithm 1, float64 (8, 8).
        attack: the attack that the table was learned from.
        seed: of the choice of images and of the attack.
        weights_sha256: of the file of the weights that the table was learned on.
        torch: version of PyTorch.
        sample_ids: the calibration images that the table was learned from: their index, or the name of their file.
        gate: the noise gate for the whole network.
        monitor: the calibration of the attack monitor.
        searched: a table that was searched instead of learned.
        last_exit_gates: for each RAD in percent the noise gate for a network that ends at its last exit.
        others: members of the file that this release does not know; they are written again as they are.
        file: where it was read from; named in messages.
        option: what names its network on the command line; named in messages.
    """

    steps: np.ndarray
    model: str = ""
    range: tuple[float, ...] | None = None
    mean_ratios: np.ndarray | None = None
    attack: AttackRecord | None = None
    seed: int | None = None
    weights_sha256: str | None = None
    torch: str | None = None
    sample_ids: tuple[int | str, ...] | None = None
    gate: GateFile | None = None
    monitor: MonitorFile | None = None
    searched: SearchedTable | None = None
    last_exit_gates: Mapping[int, GateFile] = field(default_factory=dict)
    others: Mapping[str, object] = field(default_factory=dict)
    file: Path = Path("table.json")
    option: str = "--model NAME"

    def baked(self, low: int, high: int) -> np.ndarray:
        """Q_def with another range of steps, from the mean ratios that the file keeps; int64 (8, 8).

        Raises:
            DataError: the file keeps no mean ratios.
        """
        if self.mean_ratios is None:
            raise DataError(
                f"found no mean ratios in {self.file}; expected 8 rows of 8, to bake a table of range {low} to {high} from; "
                f"learn it again with: defq table {self.option}"
            )
        return table_from_ratios(self.mean_ratios, low, high)

    def own_gate(self) -> GateFile:
        """The noise gate. Raises UsageError where none was calibrated."""
        return self._there(self.gate, "gate")

    def own_monitor(self) -> MonitorFile:
        """The calibration of the attack monitor. Raises UsageError where there is none."""
        return self._there(self.monitor, "monitor")

    def own_searched(self) -> SearchedTable:
        """The searched table. Raises UsageError where there is none."""
        return self._there(self.searched, "searched")

    def _there(self, part: Part | None, name: str) -> Part:
        if part is None:
            raise UsageError(
                f"found no {name} in {self.file}; expected one; make it with: defq {PARTS[name]} {self.option}"
            )
        return part

    def ending_at(self, rad: int, last: int) -> "TableFile":
        """The same for a network that ends at exit ``last``, from 1, for ``rad``: with the gate that was calibrated for it
        where there is one, and otherwise with the gate for the whole network."""
        special = self.last_exit_gates.get(rad)
        return replace(
            self,
            gate=special if special is not None and special.last_exit == last else self.gate,
            monitor=self.monitor and self.monitor.ending_at(last),
            last_exit_gates={},
        )

    def as_json(self) -> dict[str, Any]:
        """The content of table.json; what is absent is left out."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "model": self.model or None,
            "table": self.steps.tolist(),
            "range": None if self.range is None else list(self.range),
            "mean_ratios": None if self.mean_ratios is None else self.mean_ratios.tolist(),
            "attack": self.attack and self.attack.as_json(),
            "seed": self.seed,
            "weights_sha256": self.weights_sha256,
            "torch": self.torch,
            "sample_ids": None if self.sample_ids is None else list(self.sample_ids),
            "gate": self.gate and self.gate.as_json(),
            "monitor": self.monitor and self.monitor.as_json(),
            "searched": self.searched and self.searched.as_json(),
            "last_exit_gates": {str(rad): gate.as_json() for rad, gate in self.last_exit_gates.items()} or None,
            **self.others,
        }
        return {name: value for name, value in content.items() if value is not None}


def learned_file(
    learned: LearnedTable, settings: TableSettings, attack: PerSampleAttack, model: str, weights_sha256: str
) -> TableFile:
    """A table that was just learned, with nothing calibrated with it yet."""
    return TableFile(
        learned.steps,
        model=model,
        range=(settings.low, settings.high),
        mean_ratios=np.array([[round(float(each), 6) for each in row] for row in learned.ratios]),
        attack=AttackRecord.of(attack),
        seed=settings.seed,
        weights_sha256=weights_sha256,
        torch=torch.__version__,
        sample_ids=tuple(learned.sample_ids),
    )


def write_table(table: TableFile, file: Path) -> None:
    """Write table.json.

    Raises:
        DataError: the steps are none. OutputError: the file cannot be written.
    """
    content = table.as_json()
    check_table_file(content, str(file))
    text = json.dumps(content, indent=2)
    # rows of numbers on one line each
    write_output(file, re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", text) + "\n")
