"""defq monitor: what the attack monitor compares a camera's exits with. Written into the table file."""

import argparse

from export.calibration.monitor import calibrate_monitor
from export.commands.inputs import calibrated
from export.commands.options import add_calibration

EXAMPLES = ("defq monitor --model vgg16", "defq monitor --model vgg16 --data photographs/ --out table.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_calibration(parser, "table")


def run(arguments: argparse.Namespace) -> int:
    model, data, out = calibrated(arguments)
    monitor = calibrate_monitor(model, data)
    print(f"wrote {model.own_table().extended('monitor', monitor, out)}; shares that leave at exits 1 to 3:")
    for rad, shares in monitor["shares"].items():
        print(f"RAD {rad} %: " + ", ".join(f"{name} {sum(each[:3]):.3f}" for name, each in shares.items()))
    return 0
