"""fit.json: what each step of a fit was made from and what it made, so that a fit goes on where it was stopped."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device.errors import DataError
from device.system.files import read_bounded
from device.system.json_text import read_json
from export.calibration.json_fields import Fields
from export.data.output import write_output
from export.fit.effort import Effort
from export.fit.settings import FitSettings

FILE = "fit.json"
FORMAT, FORMAT_VERSION = "defq-fit", 1
MAX_FILE_BYTES = 1 << 20

Hashes = Mapping[str, str]
"""The hash, or the value itself where it is short, of each thing that a step reads or writes, by its name."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What is known of a step that was done.

    Args:
        inputs: of everything that its result follows from.
        outputs: of everything that it wrote.
        seconds: how long it took.
        result: what came out of it, in a few words.
        left_out: why an optional part was left out, as a sentence; "" where it was not.
    """

    inputs: Hashes
    outputs: Hashes
    seconds: float
    result: str
    left_out: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
            "seconds": round(self.seconds, 1),
            "result": self.result,
            **({"left_out": self.left_out} if self.left_out else {}),
        }


@dataclass(slots=True)
class FitState:
    """Everything in fit.json.

    Args:
        settings: those of the last run.
        effort: how many photographs are attacked; None before it was chosen.
        steps: the record of each step that was done, by its name.
    """

    settings: FitSettings
    effort: Effort | None = None
    steps: dict[str, StepRecord] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write fit.json whole, or leave the earlier one.

        Raises:
            OutputError: it cannot be written.
        """
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "settings": self.settings.as_json(),
            "effort": self.effort and self.effort.as_json(),
            "steps": {name: record.as_json() for name, record in self.steps.items()},
        }
        write_output(folder / FILE, json.dumps(content, indent=1) + "\n")


def read_state(folder: Path, settings: FitSettings) -> FitState:
    """What fit.json says, for a run with ``settings``; the state before the first step where there is no such file.

    Raises:
        DataError: the file is damaged, or was written by another release.
    """
    earlier = _read(folder / FILE)
    return FitState(settings) if earlier is None else FitState(settings, earlier.effort, earlier.steps)


def earlier_settings(folder: Path) -> FitSettings | None:
    """Those of the last fit in a folder; None where there was none.

    Raises:
        DataError: as ``read_state``.
    """
    earlier = _read(folder / FILE)
    return earlier.settings if earlier else None


def _read(file: Path) -> FitState | None:
    if not file.is_file():
        return None
    try:
        fields = Fields.of(read_json(read_bounded(str(file), MAX_FILE_BYTES)))
        if fields.text("format") != FORMAT or fields.whole("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"it is of format {fields.content['format']} {fields.content['format_version']}; this release reads {FORMAT} {FORMAT_VERSION}"
            )
        settings = FitSettings.from_json(fields.section("settings"))
        effort = Effort.from_json(fields.section("effort")) if fields.content.get("effort") else None
        steps = fields.section("steps")
        records = {name: _record(steps.section(name)) for name in steps}
    except (OSError, ValueError) as error:
        raise DataError(
            f"could not read {file} ({error}); expected what defq fit of this release wrote; name a new folder with --out, or "
            "remove this file to make everything in the folder again"
        ) from error
    return FitState(settings, effort, records)


def _record(fields: Fields) -> StepRecord:
    return StepRecord(
        _hashes(fields.section("inputs")),
        _hashes(fields.section("outputs")),
        fields.number("seconds", 0),
        fields.text("result"),
        fields.text("left_out") if "left_out" in fields else "",
    )


def _hashes(fields: Fields) -> dict[str, str]:
    return {name: fields.text(name) for name in fields}
