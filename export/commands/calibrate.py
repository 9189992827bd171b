"""defq calibrate: costs, accuracies and thresholds of a network. Writes its model card."""

import argparse

from export.calibration.calibrate import calibrate
from export.calibration.card import write_card
from export.calibration.card_page import write_card_page
from export.commands.inputs import data_for, model_files
from export.commands.options import add_calibration
from export.data.backgrounds import read_backgrounds
from export.data.output import check_writable
from export.networks.loading import load_network
from export.networks.model_files import destination

EXAMPLES = (
    "defq calibrate --model vgg16",
    "defq calibrate --model build/models/mobilenet --data photographs/",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_calibration(parser, "card")
    parser.add_argument(
        "--backgrounds",
        metavar="DIR",
        help="as for defq train: choose thresholds on photographs as they were taken and, once more each, before other backgrounds",
    )


def run(arguments: argparse.Namespace) -> int:
    files = model_files(arguments)
    data = data_for(arguments, files)
    target = check_writable(destination(files).card if arguments.out is None else arguments.out)
    size = files.description.input_size
    behind = read_backgrounds(arguments.backgrounds, size).calibration if arguments.backgrounds else None
    card = calibrate(files, load_network(files), data, behind)
    page = target.with_suffix(".md")
    write_card(card, target)
    write_card_page(card, page, files)
    print(f"wrote {target} and {page.name}")
    for rad, point in card.thresholds.items():
        print(f"RAD {rad} %: " + ", ".join(f"{name} {value}" for name, value in point._asdict().items()))
    return 0
