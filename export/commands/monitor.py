"""defq monitor: what the attack monitor compares a camera's exits with. Written into the table file."""

import argparse
from dataclasses import replace

from export.calibration.monitor import calibrate_monitor
from export.calibration.table_file import write_table
from export.commands.inputs import calibrated
from export.commands.options import add_calibration

EXAMPLES = ("defq monitor --model vgg16", "defq monitor --model vgg16 --data photographs/ --out table.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_calibration(parser, "table")


def run(arguments: argparse.Namespace) -> int:
    model, data, out = calibrated(arguments, "monitor")
    monitor = calibrate_monitor(model, data)
    write_table(replace(model.own_table(), monitor=monitor), out)
    print(f"wrote {out}; shares that leave at exits 1 to 3:")
    for rad, shares in monitor.shares.items():
        print(f"RAD {rad} %: " + ", ".join(f"{name} {sum(each[:3]):.3f}" for name, each in shares._asdict().items()))
    return 0
