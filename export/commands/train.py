"""defq train: a network from images. Writes its weights and its card."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from device.errors import UsageError
from device.pictures.fit import CROP, FITS
from device.system.options import decimal, whole
from export.calibration.calibrate import calibrate
from export.calibration.card import write_card
from export.calibration.card_page import write_card_page
from export.commands.inputs import photographs_named, photographs_to_train
from export.commands.options import add_data, add_debug, add_model
from export.data import datasets
from export.data.output import check_writable
from export.networks.find import network_names, network_spec
from export.networks.model_files import TRAINED, beside, in_folder, made_here
from export.networks.model_folder import Photographs, described, write_description
from export.networks.training import train
from export.networks.weights import file_sha256, load_network, save_network

EXAMPLES = (
    "defq train --model mobilenet --data photographs/",
    "defq train --model resnet56 --epochs 20 --out build/models/mine/weights.safetensors",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_data(parser)
    parser.add_argument(
        "--fit",
        choices=FITS,
        help="how photographs, and later the camera's frames, are brought to the network's size (default crop, or as the model "
        "folder says)",
    )
    parser.add_argument(
        "--group",
        default="",
        metavar="PATTERN",
        help="a regular expression over the paths of photographs; those with the same first group, or match, stay in one split",
    )
    parser.add_argument(
        "--epochs", type=whole(1, 100_000), help="passes over the images (default: the network's recipe)"
    )
    parser.add_argument("--peak-rate", type=decimal(1e-9, 1000), help="highest learning rate of the one-cycle schedule")
    parser.add_argument("--batch", type=whole(2, 1 << 20), help="images in a step (default 256)")
    parser.add_argument(
        "--start", type=Path, metavar="FILE", help="safetensors to begin from instead of random weights"
    )
    parser.add_argument(
        "--quantised",
        type=decimal(0, 1),
        metavar="SHARE",
        help="share of a batch to show quantised, 0 to 1 (default 0)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: build/models/MODEL/weights.safetensors")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: build/train/MODEL.checkpoint")
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    given: str = arguments.model
    files = made_here(given) if given in network_names() else in_folder(Path(given))
    model = files.model
    recipe = network_spec(model).recipe
    recipe = replace(
        recipe,
        epochs=arguments.epochs or recipe.epochs,
        peak_rate=arguments.peak_rate or recipe.peak_rate,
        batch=arguments.batch or recipe.batch,
        quantised=recipe.quantised if arguments.quantised is None else arguments.quantised,
    )
    out = arguments.out or files.weights
    if out.suffix != ".safetensors":
        raise UsageError(f"found --out {out}; expected a file that ends in .safetensors")
    checkpoint = arguments.checkpoint or Path("build/train") / f"{model}.checkpoint"
    remembered = files.description
    fit = arguments.fit or (CROP if remembered is None else remembered.fit)
    if arguments.data is None and remembered is not None and remembered.photographs is not None:
        photographs: Photographs | None = remembered.photographs
        data = photographs_to_train(remembered.photographs, files, fit)
    else:
        data = datasets.load(arguments.data, network_spec(model).input_size, fit, arguments.group)
        photographs = photographs_named(arguments, data)
    print(f"reads {data.source}; writes {out} and, after every epoch, {checkpoint}", flush=True)
    for file in (out, checkpoint):
        check_writable(file)
    begun = f"from weights {file_sha256(arguments.start)[:12]}" if arguments.start else "from random weights"
    network = train(model, data, recipe, checkpoint, arguments.start)
    recipe_text = ", ".join([begun, *(f"{name} {value}" for name, value in asdict(recipe).items())])
    save_network(network, out, recipe_text, data.sha256(), data.classes)
    files = beside(model, out)
    if out.name == TRAINED:
        write_description(described(model, network_spec(model).input_size, data, photographs), out.parent)
    card = calibrate(files, load_network(model, out), data)
    write_card(card, files.card)
    write_card_page(card, files.card.with_suffix(".md"), files)
    print(f"wrote {out} and {files.card}; learn its table with: defq table {files.option}")
    return 0
