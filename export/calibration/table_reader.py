"""Reads table.json (export/calibration/table_file.py) and checks everything in it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from device.bundle.calibration import check_table_file
from device.defence.block_transform import BLOCK
from device.errors import DataError
from device.system.files import read_bounded
from device.system.json_text import read_json, shown
from export.calibration.attack_record import AttackRecord
from export.calibration.gate_file import gate_from_json
from export.calibration.json_fields import Fields
from export.calibration.monitor_file import monitor_from_json
from export.calibration.searched_table import searched_from_json
from export.calibration.table_file import PARTS, TableFile
from export.networks.model_files import ModelFiles, shipped

MAX_FILE_BYTES = 16 << 20
KNOWN = frozenset({"format", "format_version", *TableFile.__dataclass_fields__} - {"steps", "others", "file", "option"}) | {"table"}  # fmt: skip


def read_table(file: Path, option: str = "--model NAME", without: str = "") -> TableFile:
    """A table's file, checked as a whole.

    Args:
        option: what names the network on the command line, for messages.
        without: a part that the caller is about to make anew and that is not read, so that a damaged one can be
            replaced: "gate", "monitor", "searched", or "last_exit_gates.5" for one RAD.

    Raises:
        DataError: the file cannot be read, or something in it is not what it has to be or belongs to other weights.
    """
    try:
        content = read_json(read_bounded(str(file), MAX_FILE_BYTES))
    except (OSError, ValueError) as error:
        raise DataError(
            f"could not read the table {file} ({error}); bake one, as in: defq table --model mobilenet --out table.json"
        ) from error
    alone = TableFile(check_table_file(content, str(file)), file=file, option=option)
    fields = Fields.of(content)
    try:
        table = _learned(fields, alone)
    except ValueError as error:
        raise DataError(
            f"found no usable table in {file} ({error}); learn it again with: defq table {alone.option}"
        ) from error
    return _with_parts(table, fields, without)


def _learned(fields: Fields, alone: TableFile) -> TableFile:
    """``alone``, the steps and where they were read, with how they were learned."""
    ratios = fields.content.get("mean_ratios")
    ids = fields.content.get("sample_ids")
    if ids is not None and not (isinstance(ids, list) and all(isinstance(each, (int, str)) for each in ids)):
        raise ValueError(f"found {shown(ids)} under sample_ids; expected a list of numbers or texts")
    return replace(
        alone,
        steps=fields.table("table"),
        model=fields.text("model") if "model" in fields else "",
        range=fields.numbers("range", 2, 0, 65535) if "range" in fields else None,
        mean_ratios=None if ratios is None else _ratios(ratios),
        attack=AttackRecord.from_json(fields.section("attack")) if "attack" in fields else None,
        seed=fields.whole("seed") if "seed" in fields else None,
        weights_sha256=fields.text("weights_sha256") if "weights_sha256" in fields else None,
        torch=fields.text("torch") if "torch" in fields else None,
        sample_ids=None if ids is None else tuple(ids),
        others={name: value for name, value in fields.content.items() if name not in KNOWN},
    )


def _ratios(value: object) -> np.ndarray:
    try:
        ratios = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        ratios = np.zeros(0)
    if ratios.shape != (BLOCK, BLOCK) or not np.isfinite(ratios).all():
        raise ValueError(f"found {shown(value)} under mean_ratios; expected 8 rows of 8 numbers")
    return ratios


def _with_parts(table: TableFile, fields: Fields, without: str) -> TableFile:
    """With everything in the file that was calibrated with the table."""
    name, readers = "", {"gate": gate_from_json, "monitor": monitor_from_json, "searched": searched_from_json}
    try:
        for name, reader in readers.items():
            if name in fields and name != without:
                part = reader(fields.section(name))
                table = replace(table, **{name: _of_these_weights(part, name, table)})
        name = "last_exit_gates"
        renewed = without.startswith(name) and not isinstance(fields.content.get(name), dict)
        gates = fields.section(name) if name in fields and not renewed else Fields({})
        kept = {
            rad: gate_from_json(gates.section(key)) for key, rad in gates.rads().items() if f"{name}.{key}" != without
        }
    except ValueError as error:
        asked = f"defq {PARTS[name]} {table.option}" + (" --last-exit 5" if name == "last_exit_gates" else "")
        raise DataError(
            f"found no usable {name} in {table.file} ({error}); expected what the exporter writes; make it again with: {asked}"
        ) from error
    return replace(table, last_exit_gates={rad: _of_these_weights(each, name, table) for rad, each in kept.items()})


def _of_these_weights(part: Any, name: str, table: TableFile) -> Any:
    if part.weights_sha256 not in (None, table.weights_sha256):
        raise DataError(
            f"found a {name.replace('_', ' ').removesuffix('s')} of weights {part.weights_sha256[:12]} in {table.file}; the table's are "
            f"{str(table.weights_sha256)[:12]}; make it again with: defq {PARTS[name]} {table.option}"
        )
    return part


def own_table(files: ModelFiles, without: str = "") -> TableFile:
    """The table that belongs to the weights. ``without``: as for ``read_table``.

    Raises:
        DataError: it is absent or damaged, or was learned on other weights.
    """
    again = f"learn it with: defq table {files.option}"
    if not files.table.is_file():
        raise DataError(f"found no table of the weights {files.weights}; expected {files.table}; {again}")
    table = read_table(files.table, files.option, without)
    if table.weights_sha256 not in (None, files.sha256):
        raise DataError(
            f"found a table learned on weights {str(table.weights_sha256)[:12]} in {files.table}; the weights "
            f"{files.weights} are {files.sha256[:12]}; {again}"
        )
    return table


def shipped_table(model: str) -> TableFile:
    """The table that comes with this repository, whatever weights are used."""
    return read_table(shipped(model).table, f"--model {model}")
