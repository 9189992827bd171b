"""The rows of the reports: one class for each form of report. The columns of its CSV are the fields of the class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from device.errors import DataError
from export.evaluation.csv_file import read_csv


class Counted(NamedTuple):
    """A number of images that a row is about.

    what: the images, in words. attack: the attack that they are under; "" for a number that is the same for all rows.
    """

    what: str
    attack: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What every row has.

    Args:
        model: the network.
    """

    model: str

    @property
    def origin(self) -> str:
        """The network that a table or an attack comes from; "" where there is no other network."""
        return ""

    def counts(self) -> dict[Counted, int]:
        """The numbers of images. They are the same in all rows of a report that have the same attack."""
        return {}


@dataclass(frozen=True, kw_only=True)
class ConditionRow(Row):
    """The figures of one condition: network x attack x defence x RAD.

    Args:
        attack, defence: their names (export.calibration.attacked_images, export.defences).
        pixels: "8 bit" where attacked images were rounded to 8 bits, or "float".
        images: number of test images.
        rad: relative accuracy drop in percent.
        threshold: in [0, 1]. It was chosen without a defence, unless the defence's name ends in ``@loop``.
        accuracy, mean_cost, efcy, t3_er: export.calibration.cost.OperatingPoint, with four decimals.
        exit_histogram: number of images that leave at each exit.
    """

    attack: str
    defence: str
    pixels: str
    images: int
    rad: int
    threshold: float
    accuracy: float
    mean_cost: float
    efcy: float
    t3_er: float
    exit_histogram: tuple[int, ...]

    def counts(self) -> dict[Counted, int]:
        return {Counted("images", self.attack): self.images}


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What a row of the transfer report is about.

    Args:
        kind: "table", "attack" or "norm".
        source: the network that the table was learned on or the attack was crafted on; under "norm" the norm of the attack that
            the table was learned from.
    """

    kind: str
    source: str


@dataclass(frozen=True, kw_only=True)
class TransferRow(ConditionRow, Transfer):  # a dataclass puts the fields of its last base first
    """A row of the transfer report."""

    @property
    def origin(self) -> str:
        return self.source


@dataclass(frozen=True, kw_only=True)
class Watched(Row):
    """What a row of the monitor's report is about.

    Args:
        rad: relative accuracy drop in percent.
        threshold: in [0, 1].
        split: number of exits on the device.
        clean_images, attacked_images: number of test images that frames are drawn from.
    """

    rad: int
    threshold: float
    split: int
    clean_images: int
    attacked_images: int

    def counts(self) -> dict[Counted, int]:
        return {Counted("clean images"): self.clean_images, Counted("attacked images"): self.attacked_images}


@dataclass(frozen=True, kw_only=True)
class MonitorRow(Watched):
    """A row of the monitor's report.

    Args:
        event: "alarm", which is waited for from the start; "all-clear", which is waited for after an alarm; or "auto", the
            closed loop.
        defq: "off", "on" or "auto".
        mix: share of attacked frames.
        frames: number of frames that were shown.
        changes: number of times that the event came; None for the closed loop.
        mean, median, p95: frames that passed until it came; None where it never came, and for the closed loop.
        attacked_quantised, clean_quantised: shares of the attacked frames, and of the clean ones before and after the attack,
            that were quantised in the closed loop.
        exit_histogram: number of frames that left at each exit of the device; the last is that of frames that did not leave.
    """

    event: str
    defq: str
    mix: float
    frames: int
    changes: int | None = None
    mean: float | None = None
    median: float | None = None
    p95: float | None = None
    attacked_quantised: float | None = None
    clean_quantised: float | None = None
    exit_histogram: tuple[int, ...]


AnyRow = TypeVar("AnyRow", bound=Row)


def others(file: Path, form: type[AnyRow], models: Sequence[str], images: Mapping[Counted, int]) -> list[AnyRow]:
    """The rows of a report that is there already which are about other networks than ``models``.

    Args:
        file: the report as CSV.
        form: the class of its rows.
        models: the networks that new rows will be about.
        images: the numbers of images of the new rows.

    Raises:
        DataError: the report cannot be read, or the kept rows are about other numbers of images, so that one table cannot hold
            both.
    """
    kept = [row for row in read_csv(file, form) if row.model not in models and row.origin not in models]
    for row in kept:
        for counted, count in row.counts().items():
            wanted = images.get(counted, count)
            if count != wanted:
                under = f" under {counted.attack}" if counted.attack else ""
                raise DataError(
                    f"found {count} {counted.what} of {row.model}{under} in {file}, {wanted} for this run; expected as many; "
                    "name the same numbers of images, or write elsewhere with --out"
                )
    return kept


def in_order(rows: Sequence[AnyRow], models: Sequence[str]) -> list[AnyRow]:
    """Rows by network, and by the network that a table or an attack comes from, in the order of ``models``."""

    def place(row: AnyRow) -> tuple[int, int]:
        return models.index(row.model), models.index(row.origin) if row.origin in models else len(models)

    return sorted(rows, key=place)
