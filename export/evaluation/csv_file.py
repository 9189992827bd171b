"""Rows as CSV: one column for each field of a dataclass."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_type_hints

from device.errors import DataError
from device.system.files import read_bounded
from device.system.options import MANY, decimal_number, whole_number
from export.data.output import write_output

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_FILE_BYTES = 16 << 20
AnyRow = TypeVar("AnyRow", bound="DataclassInstance")


def write_csv(rows: Sequence["DataclassInstance"], file: Path) -> None:
    """Write rows of one class. A tuple of numbers is one cell with spaces between them, and None is an empty cell.

    Raises:
        OutputError: the file cannot be written.
    """
    stream = io.StringIO()
    names = [field.name for field in fields(rows[0])]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    write_output(file, stream.getvalue())


def read_csv(file: Path, form: type[AnyRow]) -> list[AnyRow]:
    """The rows of class ``form`` that ``write_csv`` wrote; none where there is no such file.

    Raises:
        DataError: the file cannot be read, its columns are not the fields of ``form``, or a cell does not hold what its field
            holds.
    """
    try:
        text = read_bounded(str(file), MAX_FILE_BYTES).decode()
        heading, *lines = [*csv.reader(io.StringIO(text, newline=""))] or [[]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"could not read {file} ({error}); expected the rows of a report; delete it") from error
    names = [field.name for field in fields(form)]
    if heading != names:
        raise DataError(
            f"found the columns {','.join(heading)[:200] or 'of an empty file'} in {file}; expected {','.join(names)}, those of this "
            "release; delete it"
        )
    return [_row(line, form, f"line {number} of {file}") for number, line in enumerate(lines, start=2)]


def _row(line: list[str], form: type[AnyRow], place: str) -> AnyRow:
    kinds = get_type_hints(form)
    names = [field.name for field in fields(form)]
    if len(line) != len(names):
        raise DataError(
            f"found {len(line)} cells in {place}; expected {len(names)}, one for each column; delete the file"
        )
    values: dict[str, object] = {}
    for name, cell in zip(names, line, strict=True):
        try:
            values[name] = _READERS[kinds[name]](cell)
        except ValueError as error:
            raise DataError(f"could not read {name} in {place}: {error}; delete the file") from None
    return form(**values)


def _cell(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _whole(cell: str) -> int:
    return whole_number(cell, 0, MANY)


def _decimal(cell: str) -> float:
    return decimal_number(cell, 0, MANY)


def _wholes(cell: str) -> tuple[int, ...]:
    return tuple(_whole(number) for number in cell.split(" "))


def _or_nothing(read: Callable[[str], float]) -> Callable[[str], float | None]:
    return lambda cell: read(cell) if cell else None


_READERS: dict[object, Callable[[str], object]] = {
    str: str,
    int: _whole,
    float: _decimal,
    tuple[int, ...]: _wholes,
    int | None: _or_nothing(_whole),
    float | None: _or_nothing(_decimal),
}
"""How the cell of a field is read, by the type of the field."""
