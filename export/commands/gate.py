"""defq gate: the noise gate, which passes frames without an attack by DefQ. Written into the table file."""

import argparse
from dataclasses import replace

from device.system.options import whole
from export.calibration.cost import RADS
from export.calibration.gate import calibrate_gate
from export.calibration.table_file import write_table
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
        choices=RADS,
        metavar="RAD",
        help="make another gate, for bundles that end at the last exit for this RAD (bundle --last-exit)",
    )


def run(arguments: argparse.Namespace) -> int:
    ending = arguments.last_exit
    model, data, out = calibrated(arguments, "gate" if ending is None else f"last_exit_gates.{ending}")
    table = model.own_table()
    gate = calibrate_gate(model, data, arguments.blind, ending)
    gates = table.last_exit_gates
    made = replace(table, gate=gate) if ending is None else replace(table, last_exit_gates={**gates, ending: gate})
    write_table(made, out)
    print(f"wrote {out}: {gate.as_json()}")
    return 0
