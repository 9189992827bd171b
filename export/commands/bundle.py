"""defq bundle: head, tail, thresholds and table of a network for a device and its host."""

import argparse
from dataclasses import replace
from pathlib import Path

from device.system.options import whole
from export.bundle.settings import BundleSettings
from export.bundle.twin import FORMS
from export.bundle.writer import export_bundle
from export.calibration.card import read_card
from export.calibration.cost import RADS
from export.calibration.split_choice import usual_split
from export.commands.inputs import data_for, find_files
from export.commands.options import CHOSEN, add_data, add_debug, add_model, add_split, add_weights

EXAMPLES = (
    "defq bundle --model vgg16 --out build/vgg16",
    "defq bundle --model build/models/mobilenet --split all --frames 200 --archive --out build/mine",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_weights(parser)
    add_data(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder of the bundle")
    add_split(
        parser,
        "exits on the device (default: 3 for CIFAR-10, else chosen from where calibration images leave); all: the final classifier too, so "
        "that no host is needed",
        CHOSEN,
    )
    parser.add_argument(
        "--rad",
        type=whole(0, 100),
        choices=RADS,
        default=RADS[0],
        help="relative accuracy drop, in percent, that a device uses unless it is told another (default 5)",
    )
    parser.add_argument("--fuse-defq", action="store_true", help="put DefQ into the head graph")
    parser.add_argument("--table", type=Path, metavar="FILE", help="default: the one that belongs to the weights")
    parser.add_argument(
        "--frames",
        type=whole(1),
        metavar="N",
        help="put the first N test images, of all classes, into it, clean and attacked, for defq bench and defq preview",
    )
    parser.add_argument("--archive", action="store_true", help="also write DIR.tar.gz")
    parser.add_argument(
        "--last-exit",
        action="store_true",
        help="end the network at its last exit for --rad: no attack makes a frame cost more",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="head and tail compute in 8 bits, with thresholds calibrated anew; needs the calibration images",
    )
    parser.add_argument(
        "--twin",
        choices=FORMS,
        default="",
        help="carry the hardened twin (defq harden) too: head, which answers everything on the device, or both head and tail",
    )
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    files = find_files(arguments)
    files = replace(files, table=arguments.table or files.table)
    print(files.told(), flush=True)
    split = arguments.split
    if split == CHOSEN:
        choice = usual_split(read_card(files), arguments.rad, arguments.last_exit)
        print(choice.told(), flush=True)
        split = choice.split
    settings = BundleSettings(
        split,
        arguments.rad,
        arguments.fuse_defq,
        arguments.archive,
        arguments.last_exit,
        arguments.int8,
        arguments.twin,
    )
    own = arguments.data is None and files.description.photographs is not None
    data = data_for(arguments, files) if own else arguments.data
    export_bundle(files.model, arguments.out, settings, data, arguments.frames or 0, files)
    return 0
