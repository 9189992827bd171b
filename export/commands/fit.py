"""defq fit: from a folder of photographs to a defended bundle and a report."""

import argparse
import shlex
from pathlib import Path

from device.pictures.fit import CROP, FITS
from device.system.options import decimal, whole
from export.commands.options import add_debug, add_group, add_network
from export.data.backgrounds import DRAWN, backgrounds_hash
from export.fit.bundle_step import FOLDER as BUNDLE
from export.fit.report_step import FILE as REPORT
from export.fit.runner import fit
from export.fit.settings import SIZES, FitSettings
from export.fit.steps import fit_steps
from export.networks.find import network_names
from export.networks.loading import planned
from export.networks.model_files import shown
from export.networks.user_code import named

EXAMPLES = (
    "defq fit photographs/ --size 96 --out build/mine",
    "defq fit photographs/ --size 128 --fit letterbox --group 'person[0-9]+' --out build/mine",
)
BACKBONE = "efficientnet_lite0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photographs", type=Path, metavar="PHOTOGRAPHS", help="a folder with one folder of photographs for each class"
    )
    parser.add_argument(
        "--size",
        type=whole(1, 4096),
        choices=SIZES,
        default=96,
        help="side of the network's square input in pixels (default 96)",
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--backbone", choices=network_names(), default=BACKBONE, help=f"the network (default {BACKBONE})"
    )
    add_network(either, "--backbone")
    parser.add_argument(
        "--fit",
        choices=FITS,
        default=CROP,
        help="how photographs, and later the camera's frames, are brought to this size (default crop)",
    )
    add_group(parser)
    parser.add_argument(
        "--backgrounds",
        default="",
        metavar="DIR",
        help="photographs that were taken before a plain background: show half of them before the photographs of this folder and "
        f"before drawn backgrounds; {DRAWN}: before drawn ones alone",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="the model folder; a fit that was stopped goes on in it",
    )
    parser.add_argument(
        "--epochs",
        type=whole(1, 100_000),
        default=0,
        help="passes over the photographs in training (default: the network's recipe)",
    )
    parser.add_argument(
        "--freeze",
        action="store_true",
        help="train the internal classifiers alone; the network itself stays as it was before",
    )
    parser.add_argument(
        "--no-flip",
        action="store_true",
        help="do not mirror photographs: letters, road signs and screws have a handedness",
    )
    parser.add_argument(
        "--minutes",
        type=decimal(0.1, 100_000),
        default=0.0,
        help="about how long it may take: more photographs are attacked in more time (default: 4, and 1.6 seconds for each photograph)",
    )
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    code = named(arguments.network) if arguments.network else None
    settings = FitSettings(
        code.name if code else arguments.backbone,
        arguments.size,
        arguments.fit,
        arguments.group,
        arguments.epochs,
        arguments.freeze,
        not arguments.no_flip,
        arguments.minutes,
        code.reference if code else "",
        arguments.backgrounds,
    )
    # what cannot work says so now, and not after the scan
    planned(settings.backbone, (settings.size, settings.size), settings.fit, code=code)
    if settings.backgrounds:
        backgrounds_hash(settings.backgrounds)
    job = fit(arguments.photographs, arguments.out, settings, fit_steps())
    folder = shown(job.folder)
    print(
        f"wrote {folder}: read {folder}/{REPORT}; show things to a camera with: defq preview --bundle {shlex.quote(f'{folder}/{BUNDLE}')} --source v4l2:///dev/video0"
    )
    return 0
