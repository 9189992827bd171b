"""defq table: Algorithm 1. Writes the quantisation table of a network."""

import argparse

from device.errors import UsageError
from device.system.options import whole
from export.calibration.attacked_images import PER_SAMPLE
from export.calibration.card import known_classes
from export.calibration.table import Kept, TableSettings, learn_table
from export.calibration.table_file import learned_file, write_table
from export.commands.inputs import data_for, model_files, table_out
from export.commands.options import add_calibration
from export.data.classes import check_classes
from export.networks.loading import load_network
from export.networks.sdn import folded

EXAMPLES = ("defq table --model vgg16", "defq table --model vgg16 --samples 200 --range 10 40 --out table.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_calibration(parser, "table")
    parser.add_argument("--samples", type=whole(1), default=1000, help="calibration images (default 1000)")
    parser.add_argument(
        "--range",
        type=whole(1, 255),
        nargs=2,
        default=(20, 60),
        metavar=("LOW", "HIGH"),
        help="smallest and largest step of the table (default 20 60)",
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="of the attack's random numbers (default 0)")
    parser.add_argument(
        "--attack", choices=sorted(PER_SAMPLE), default="linf", help="attack whose traces to learn (default linf)"
    )


def run(arguments: argparse.Namespace) -> int:
    low, high = arguments.range
    if not low < high:
        raise UsageError(f"found --range {low} {high}; expected 1 <= LOW < HIGH <= 255")
    settings = TableSettings(arguments.samples, low, high, arguments.seed)
    attack = PER_SAMPLE[arguments.attack]
    files = model_files(arguments)
    out = table_out(arguments, files)
    network, data = load_network(files), data_for(arguments, files)
    check_classes(network, data, known_classes(files))
    kept = Kept(files.sha256, files.attacks) if files.folder else None
    learned = learn_table(folded(network), data.calibration, settings, attack, kept)
    write_table(learned_file(learned, settings, attack, files.model, files.sha256), out)
    steps = learned.steps
    print(f"wrote {out}: steps {steps.min()} to {steps.max()}, mean {steps.mean():.1f}")
    print(f"it has no noise gates, no attack monitor and no searched table yet; the commands gate, gate --last-exit 5, "
          f"monitor and search make them, as in: defq gate {files.option}")  # fmt: skip
    return 0
