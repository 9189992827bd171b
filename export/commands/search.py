"""defq search: a table that restores more early exits than Q_def for a bounded loss on clean images."""

import argparse
from dataclasses import replace

from export.calibration.search import search_table
from export.calibration.table_file import write_table
from export.commands.inputs import calibrated, find_files
from export.commands.options import add_calibration

EXAMPLES = ("defq search --model vgg16", "defq evaluate --model vgg16 --defenses defq,searched")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_calibration(parser, "table")


def run(arguments: argparse.Namespace) -> int:
    model, data, out = calibrated(arguments, "searched")
    write_table(replace(model.own_table(), searched=search_table(model, data)), out)
    print(f"wrote {out}; try it with: defq evaluate "
          f"{find_files(arguments).option} --defenses defq,searched")  # fmt: skip
    return 0
