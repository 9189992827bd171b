"""Options that several commands of the export share."""

import argparse
from pathlib import Path

from device.system.options import whole
from export.networks.find import model_names

WEIGHTS_HELP = "ours, or of the public SDN code (default: build/models/MODEL, if it was trained here, else models/)"
DATA_HELP = (
    "CIFAR-10 or class folders of images, or signs: the public hand-sign digits (default: the photographs that the model folder "
    "was made from, else $CIFAR10_DIR or, for signs, $SIGNS_DIR, else a download)"
)
CHOSEN = 0
"""The ``--split`` of a command that chooses it where the user does not."""
BESIDE = "default: {}.json beside the weights; for shipped weights in build/models/MODEL"


def add_network(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup, instead: str = "--model") -> None:
    parser.add_argument(
        "--network",
        metavar="FILE.py:build",
        help=f"instead of {instead} a network of your own: a function in a Python file, which is run",
    )


def add_model(parser: argparse.ArgumentParser, required: bool = True, default: str | None = None) -> None:
    """``--model`` and ``--network``, of which one is taken."""
    either = parser.add_mutually_exclusive_group(required=required)
    either.add_argument(
        "--model",
        default=default,
        metavar="NAME|FOLDER",
        help=f"a model or network ({', '.join(model_names())}), or the folder of a trained one",
    )
    add_network(either)


def add_split(parser: argparse.ArgumentParser, text: str, default: int = 3) -> None:
    """``--split``: a whole number, or None for ``all``."""
    parser.add_argument("--split", type=_split, default=default, metavar="K|all", help=text)


def _split(text: str) -> int | None:
    return None if text == "all" else whole(1, 1000)(text)


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, metavar="FILE", help=WEIGHTS_HELP)


def add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help=DATA_HELP)


def add_group(parser: argparse.ArgumentParser, default: str | None = "") -> None:
    parser.add_argument(
        "--group",
        default=default,
        metavar="PATTERN",
        help="a regular expression over the paths of photographs; those with the same first group, or match, stay in one split",
    )


def add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")


def add_calibration(parser: argparse.ArgumentParser, written: str) -> None:
    """The options of a command that measures a trained network on images and writes one file.

    Args:
        written: card or table.
    """
    add_model(parser)
    add_weights(parser)
    add_data(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help=BESIDE.format(written))
    add_debug(parser)
