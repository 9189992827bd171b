"""defq harden: the hardened twin of a network. Writes a model folder of its own."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from device.errors import UsageError
from device.system.options import decimal, whole
from export.calibration.card import read_card
from export.calibration.trained_network import TrainedNetwork, write_trained
from export.calibration.twin import FILE, calibrate_twin, twin_files, twin_table
from export.commands.inputs import data_for, model_files, photographs_named
from export.commands.options import add_data, add_debug, add_model, add_weights
from export.data.output import check_writable
from export.networks.hardening import HardeningRecipe, hardened
from export.networks.loading import load_network
from export.networks.model_files import ModelFiles
from export.networks.user_code import spec_of

EXAMPLES = ("defq harden --model mobilenet", "defq harden --model build/models/mine --last-exit 5 --epochs 20")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_weights(parser)
    add_data(parser)
    parser.add_argument(
        "--last-exit",
        type=whole(2, 1000),
        metavar="K",
        help="the exit at which the twin ends (default: the last exit for RAD 5 of the model card)",
    )
    parser.add_argument("--epochs", type=whole(1, 10_000), default=10, help="passes over the images (default 10)")
    parser.add_argument("--peak-rate", type=decimal(1e-9, 1000), help="highest learning rate (default 0.06)")
    parser.add_argument("--batch", type=whole(4, 1 << 20), help="images in a step (default 128)")
    parser.add_argument(
        "--clean",
        type=decimal(0, 0.9),
        metavar="SHARE",
        help="share of a batch that is not attacked (default 0.25)",
    )
    parser.add_argument(
        "--slowed",
        type=decimal(0, 1),
        metavar="SHARE",
        help="share of a batch that is attacked by the slow-down loss (default 0.45); the rest by the loss of its label",
    )
    parser.add_argument(
        "--no-flip",
        action="store_true",
        help="do not mirror photographs: letters, road signs and screws have a handedness",
    )
    parser.add_argument(
        "--patience",
        type=whole(0, 10_000),
        help="stop after so many epochs without a higher accuracy under attack (default 3; 0: never)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="default: twin in the model folder; for shipped weights build/models/MODEL/twin",
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: twin.checkpoint beside the folder")
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    files = model_files(arguments)
    last = _last_exit(arguments, files)
    twin = twin_files(files, arguments.out)
    if twin.weights.resolve() == files.weights.resolve():
        raise UsageError(f"found --out {twin.weights.parent}, the folder of the model itself; expected another one")
    folder = twin.weights.parent
    checkpoint = arguments.checkpoint or folder.with_name(f"{folder.name}.checkpoint")
    data = data_for(arguments, files)
    for file in (twin.weights, checkpoint):
        check_writable(file)
    recipe = _recipe(arguments, files, photographs=data.of_camera)
    print(f"hardens {files.model} up to exit {last}; writes {folder} and, after every epoch, {checkpoint}", flush=True)
    network = hardened(files, last, data, recipe, checkpoint)
    told = ", ".join(
        [f"from weights {files.sha256[:12]}", *(f"{name} {value}" for name, value in asdict(recipe).items())]
    )
    description = replace(files.description, ends=files.description.exits[last - 1])
    photographs = photographs_named(arguments, data) or description.photographs
    write_trained(TrainedNetwork(network, description, told), twin, data, photographs)
    made = calibrate_twin(files, twin, data)
    print(twin_table(made.rows))
    print(f"wrote {folder}; {'DefQ belongs before it' if made.defq else 'it needs no DefQ before it'} ({FILE})")
    return 0


def _last_exit(arguments: argparse.Namespace, files: ModelFiles) -> int:
    """The exit, from 1, at which the twin ends.

    Raises:
        UsageError: the network has no such internal classifier, or its card names no last exit.
        DataError: weights or card cannot be read.
    """
    exits = len(load_network(files).ics)
    last: int | None = arguments.last_exit
    if last is None:
        found = read_card(files).last_exits.get(5)
        last = min(found.exit, exits) if found else 0
    if not 2 <= last <= exits:
        raise UsageError(
            f"found {f'exit {last}' if last else 'no exit'} for the twin of {files.model} to end at; expected --last-exit from 2 to {exits}"
        )
    return last


def _recipe(arguments: argparse.Namespace, files: ModelFiles, photographs: bool) -> HardeningRecipe:
    clean, slowed = arguments.clean, arguments.slowed
    own = spec_of(files.description.family, files.description.code).recipe
    recipe = HardeningRecipe(
        epochs=arguments.epochs, photographs=photographs, flips=not arguments.no_flip, compile=own.compile
    )
    named = {"peak_rate": arguments.peak_rate, "batch": arguments.batch, "clean": clean, "slowed": slowed, "patience": arguments.patience}  # fmt: skip
    recipe = replace(recipe, **{name: value for name, value in named.items() if value is not None})
    if recipe.clean + recipe.slowed > 1:
        raise UsageError(
            f"found --clean {recipe.clean} and --slowed {recipe.slowed}; expected shares whose sum is at most 1"
        )
    return recipe
