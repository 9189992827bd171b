"""defq fit: from a folder of photographs to a defended bundle and a report."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

from device.pictures.fit import CROP, FITS
from device.system.options import decimal, whole
from export.commands.options import add_debug, add_group, add_network
from export.data.backgrounds import DRAWN, backgrounds_hash
from export.fit.bundle_step import FOLDER as BUNDLE
from export.fit.report_step import FILE as REPORT
from export.fit.runner import fit
from export.fit.settings import SIZES, FitSettings
from export.fit.state import earlier_settings
from export.fit.steps import fit_steps
from export.networks.find import network_names
from export.networks.loading import planned
from export.networks.model_files import shown
from export.networks.user_code import UserCode, named

EXAMPLES = (
    "defq fit photographs/ --size 96 --out build/mine",
    "defq fit photographs/ --size 128 --fit letterbox --group 'person[0-9]+' --out build/mine",
)
SIZE, BACKBONE = 96, "efficientnet_lite0"
DEFAULTS = FitSettings(BACKBONE, SIZE, CROP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photographs", type=Path, metavar="PHOTOGRAPHS", help="a folder with one folder of photographs for each class"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="the model folder; a fit that was stopped goes on in it, and options that are left out are then as before",
    )
    parser.add_argument(
        "--size",
        type=whole(1, 4096),
        choices=SIZES,
        help=f"side of the network's square input in pixels (default {SIZE})",
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--backbone", choices=network_names(), help=f"the network (default {BACKBONE})")
    add_network(either, "--backbone")
    parser.add_argument(
        "--fit",
        choices=FITS,
        help="how photographs, and later the camera's frames, are brought to this size (default crop)",
    )
    add_group(parser, default=None)
    parser.add_argument(
        "--backgrounds",
        metavar="DIR",
        help="photographs that were taken before a plain background: show half of them before the photographs of this folder and before "
        f"drawn backgrounds; {DRAWN}: before drawn ones alone",
    )
    parser.add_argument(
        "--epochs",
        type=whole(1, 100_000),
        help="passes over the photographs in training (default: the network's recipe)",
    )
    parser.add_argument(
        "--freeze",
        action=argparse.BooleanOptionalAction,
        help="train the internal classifiers alone; the network itself stays as it was before",
    )
    parser.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="mirror photographs in training, which is the default, or do not: letters, road signs and screws have a handedness",
    )
    parser.add_argument(
        "--minutes",
        type=decimal(0.1, 100_000),
        help="about how long it may take: more photographs are attacked in more time (default: 4, and 1.6 seconds for each photograph)",
    )
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    earlier = earlier_settings(arguments.out)
    settings, code = _settings(arguments, earlier or DEFAULTS)
    if earlier and settings.options(DEFAULTS):
        print(f"goes on in {shown(arguments.out)} with {settings.options(DEFAULTS)}", flush=True)
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


def _settings(arguments: argparse.Namespace, before: FitSettings) -> tuple[FitSettings, UserCode | None]:
    """What the options say, else what was before; and the network of the user's own."""
    given = vars(arguments)
    names = ("size", "fit", "group", "epochs", "minutes", "backgrounds")
    changed = {name: given[name] for name in names if given[name] is not None}
    if arguments.freeze is not None:
        changed["frozen"] = arguments.freeze
    if arguments.flip is not None:
        changed["flips"] = arguments.flip
    if arguments.backbone:
        changed |= {"backbone": arguments.backbone, "network": ""}
    reference = arguments.network or ("" if arguments.backbone else before.network)
    code = named(reference) if reference else None
    if code:
        changed |= {"backbone": code.name, "network": code.reference}
    return replace(before, **changed), code
