"""defq train: a network from images. Writes its weights and its card."""

import argparse
from dataclasses import replace
from pathlib import Path

from device.errors import UsageError
from device.pictures.fit import CROP, FITS
from device.system.options import decimal, whole, whole_number
from export.calibration.calibrate import calibrate
from export.calibration.card import write_card
from export.calibration.card_page import write_card_page
from export.calibration.trained_network import trained_network, write_trained
from export.commands.inputs import photographs_named, photographs_to_train
from export.commands.options import add_data, add_debug, add_group, add_model
from export.data import cifar10, datasets
from export.data.backgrounds import DRAWN, SHARE, read_backgrounds
from export.data.images import Dataset
from export.data.output import check_writable
from export.networks.find import model_names
from export.networks.loading import load_network, planned
from export.networks.model_files import ModelFiles, beside, family_of, in_folder, made_here, shipped
from export.networks.model_folder import FILE as DESCRIPTION
from export.networks.model_folder import ModelDescription, Photographs
from export.networks.pretrained import installed
from export.networks.recipes import recipe_for
from export.networks.spec import Recipe
from export.networks.user_code import UserCode, named, spec_of

MAX_SIDE = 4096

EXAMPLES = (
    "defq train --model efficientnet_lite0 --data photographs/ --size 128",
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
    add_group(parser)
    parser.add_argument(
        "--epochs",
        type=whole(1, 100_000),
        help="passes over the images (default: the network's recipe; photographs: the fewer, the more)",
    )
    parser.add_argument("--peak-rate", type=decimal(1e-9, 1000), help="highest learning rate of the one-cycle schedule")
    parser.add_argument("--batch", type=whole(2, 1 << 20), help="images in a step (default 256; photographs: 16 to 64)")
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="safetensors to begin from (default: weights that were trained on ImageNet where they are installed, else random ones)",
    )
    parser.add_argument(
        "--random",
        action="store_true",
        help="begin from random weights, even where weights that were trained on ImageNet are installed",
    )
    parser.add_argument(
        "--quantised",
        type=decimal(0, 1),
        metavar="SHARE",
        help="share of a batch to show quantised, 0 to 1 (default 0; photographs: 0.25)",
    )
    parser.add_argument(
        "--no-flip",
        action="store_true",
        help="do not mirror photographs: letters, road signs and screws have a handedness",
    )
    parser.add_argument(
        "--backgrounds",
        metavar="DIR",
        help="photographs that were taken before a plain background: show half of them before the photographs of this folder and "
        f"before drawn backgrounds; {DRAWN}: before drawn ones alone",
    )
    parser.add_argument(
        "--freeze",
        action="store_true",
        help="train the internal classifiers alone; the network itself stays as it was before",
    )
    parser.add_argument(
        "--distil",
        type=decimal(0, 1000),
        metavar="WEIGHT",
        help="let internal classifiers learn from the final one too, with this weight (default: the recipe)",
    )
    parser.add_argument(
        "--size",
        type=whole(1, MAX_SIDE),
        metavar="N",
        help="side of the square images in pixels (default: the network's)",
    )
    parser.add_argument(
        "--exits",
        type=_numbers,
        metavar="N,...",
        help="the blocks, from 1, that get an internal classifier (default: all; photographs: those that pay)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: build/models/MODEL/weights.safetensors")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: build/train/MODEL.checkpoint")
    add_debug(parser)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(whole_number(each, 1, 1000) for each in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"found {text}; expected numbers of blocks, divided by commas, as in 2,5,8"
        ) from None


def run(arguments: argparse.Namespace) -> int:
    files, description = _plan(arguments)
    out = files.weights
    if out.suffix != ".safetensors":
        raise UsageError(f"found --out {out}; expected a file that ends in .safetensors")
    checkpoint = arguments.checkpoint or Path("build/train") / f"{files.model}.checkpoint"
    start = beside(description.family, arguments.start, description.code) if arguments.start else None
    known = files.description if files.described_in.is_file() else None
    before = known.photographs if known else None
    if arguments.data is None and before is not None:
        photographs: Photographs | None = before
        data = photographs_to_train(before, files, description.input_size, description.fit)
    else:
        source = known.data_source if known else cifar10.NAME
        data = datasets.load(arguments.data, description.input_size, description.fit, arguments.group, source=source)
        photographs = photographs_named(arguments, data)
    trained_before = bool(start or (not arguments.random and installed(description.family)))
    recipe = _recipe(arguments, data, description, trained_before)
    print(f"reads {data.source}; writes {out} and, after every epoch, {checkpoint}", flush=True)
    for file in (out, checkpoint):
        check_writable(file)
    behind = read_backgrounds(arguments.backgrounds, description.input_size) if arguments.backgrounds else None
    trained = trained_network(
        description, data, recipe, checkpoint, start, arguments.random, choose=not arguments.exits, backgrounds=behind
    )
    files = beside(files.model, out)
    write_trained(trained, files, data, photographs)
    card = calibrate(files, load_network(files), data, behind.calibration if behind else None)
    write_card(card, files.card)
    write_card_page(card, files.card.with_suffix(".md"), files)
    print(f"wrote {out} and {files.card}; learn its table with: defq table {files.option}")
    return 0


def _recipe(arguments: argparse.Namespace, data: Dataset, description: ModelDescription, trained: bool) -> Recipe:
    """The recipe that suits the data, with what the options say.

    Args:
        trained: whether the training begins from trained weights.
    """
    recipe = recipe_for(spec_of(description.family, description.code), data, trained)
    for option, given in (("--no-flip", arguments.no_flip), ("--backgrounds", arguments.backgrounds)):
        if given and not recipe.photographs:
            raise UsageError(f"found {option} with {data.name}; expected photographs; leave it out")
    return replace(
        recipe,
        epochs=arguments.epochs or recipe.epochs,
        peak_rate=arguments.peak_rate or recipe.peak_rate,
        batch=arguments.batch or recipe.batch,
        quantised=recipe.quantised if arguments.quantised is None else arguments.quantised,
        distilled=recipe.distilled if arguments.distil is None else arguments.distil,
        flips=not arguments.no_flip,
        pasted=SHARE if arguments.backgrounds else 0.0,
        frozen=arguments.freeze,
    )


def _plan(arguments: argparse.Namespace) -> tuple[ModelFiles, ModelDescription]:
    """The files that are written, and the network that is trained: what the options say, else what the model folder or the
    shipped model was, else what the network is made for."""
    code = named(arguments.network) if arguments.network else None
    files, before = _own(code) if code else _given(arguments.model)
    family = family_of(files.model) if files.model in model_names() else files.model
    if arguments.out:
        files = beside(files.model, arguments.out, code)
    size, fit, exits = (arguments.size,) * 2 if arguments.size else None, arguments.fit or CROP, arguments.exits or ()
    if before is not None:
        size, fit, exits = size or before.input_size, arguments.fit or before.fit, exits or before.exits
        code = code or before.code
    return files, planned(family, size, fit, exits, code)


def _given(model: str) -> tuple[ModelFiles, ModelDescription | None]:
    """The files of ``--model``, and what the model was before."""
    if model not in model_names():
        files = in_folder(Path(model))
        return files, files.description if files.described_in.is_file() else None
    came = shipped(model)
    return made_here(model), came.description if came.described_in.is_file() else None


def _own(code: UserCode) -> tuple[ModelFiles, ModelDescription | None]:
    """The files of ``--network``, and what the model was before, where the file lies in a model folder."""
    folder = code.file.parent
    if not (folder / DESCRIPTION).is_file():
        return made_here(code.name), None
    files = in_folder(folder)
    return files, files.description
