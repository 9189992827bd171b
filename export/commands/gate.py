"""defq gate: the noise gate, which passes frames without an attack by DefQ. Written into the table file."""

import argparse

from device.system.options import whole
from export.calibration.gate import calibrate_gate
from export.commands.inputs import calibrated
from export.commands.options import add_calibration

EXAMPLES = ("defq gate --model vgg16", "defq gate --model vgg16 --last-exit 5")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_calibration(parser, "table")
    parser.add_argument(
        "--blind",
        action="store_true",
        help="expect no attacker who knows the defence: attacked frames leave later, and more of them are right",
    )
    parser.add_argument(
        "--last-exit",
        type=whole(0, 100),
        choices=(5, 10),
        metavar="RAD",
        help="make another gate, for bundles that end at the last exit for this RAD (bundle --last-exit)",
    )


def run(arguments: argparse.Namespace) -> int:
    model, data, out = calibrated(arguments)
    table, ending = model.own_table(), arguments.last_exit
    gate = calibrate_gate(model, data, arguments.blind, ending)
    if ending is None:
        table.extended("gate", gate, out)
    else:
        table.extended("last_exit_gates", {**table.content.get("last_exit_gates", {}), str(ending): gate}, out)
    print(f"wrote {out}: {gate}")
    return 0
