"""defq gate: the noise gate, which passes frames without an attack by DefQ. Written into the table file.

Where photographs do not allow a gate, because too many clean ones are as noisy as attacked ones, it is left out.
"""

import argparse
from dataclasses import replace

from device.system.options import whole
from export.calibration.attacked_images import SLOW_SAMPLES, Samples
from export.calibration.cost import RADS
from export.calibration.gate import NoGateError, calibrate_gate
from export.calibration.table_file import write_table
from export.commands.inputs import calibrated
from export.commands.options import add_calibration

EXAMPLES = ("defq gate --model vgg16", "defq gate --model signs --l2-samples 24")


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
    parser.add_argument(
        "--l2-samples",
        type=whole(1),
        default=SLOW_SAMPLES,
        metavar="N",
        help=f"calibration images to attack with L2, which takes 18 times as long as L-inf (default {SLOW_SAMPLES})",
    )


def run(arguments: argparse.Namespace) -> int:
    ending = arguments.last_exit
    model, data, out = calibrated(arguments, "gate" if ending is None else f"last_exit_gates.{ending}")
    table = model.own_table()
    gates = {rad: each for rad, each in table.last_exit_gates.items() if rad != ending}
    try:
        gate = calibrate_gate(model, data, arguments.blind, ending, Samples(slow=arguments.l2_samples))
    except NoGateError as error:
        made = replace(table, gate=None) if ending is None else replace(table, last_exit_gates=gates)
        write_table(made, out)
        print(f"wrote {out} without a gate: {error}")
        return 0
    made = replace(table, gate=gate) if ending is None else replace(table, last_exit_gates={**gates, ending: gate})
    write_table(made, out)
    print(f"wrote {out}: {gate.as_json()}")
    return 0
