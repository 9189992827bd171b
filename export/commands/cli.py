"""python -m export: train | calibrate | table | gate | monitor | search | attack | bundle | evaluate | triton | kit | demo."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from device.system.console import run_command
from device.system.options import Parser, whole
from export.bundle import triton
from export.bundle.writer import BundleSettings, export_bundle
from export.commands import attack, kit
from export.commands import model as model_cli
from export.commands.evaluate import add_arguments as add_evaluate_arguments
from export.commands.evaluate import run as evaluate_command
from export.networks import NETWORKS
from export.networks.model_files import WEIGHTS_HELP, find


def main(argv: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    return run_command(lambda: _run(given), "--debug" in given)


def make_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(prog="python -m export", description="Train, calibrate, attack and export early-exit networks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, model: bool = True, data: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        if model:
            sub.add_argument("--model", required=True, choices=sorted(NETWORKS))
        if data:
            sub.add_argument(
                "--data",
                metavar="DIR",
                help="CIFAR-10 or class folders of images (default: $CIFAR10_DIR, else a download)",
            )
        sub.add_argument("--debug", action="store_true", help="print the traceback of an error")
        return sub

    model_cli.add_commands(command)

    attack.add_arguments(
        command(
            "attack", "Write clean and attacked test images as .npz frames for the device, or attack a device live."
        )
    )

    sub = command("bundle", "Export head, tail, thresholds and table for a device and its host.")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")
    sub.add_argument("--split", type=whole(1, 1000), default=3, help="exits on the device (default 3)")
    sub.add_argument(
        "--rad", type=whole(0, 100), choices=(5, 10), default=5, help="default relative accuracy drop in percent"
    )
    sub.add_argument("--fuse-defq", action="store_true", help="put DefQ into the head graph")
    sub.add_argument("--table", type=Path, metavar="FILE", help="default: the one that belongs to the weights")
    sub.add_argument("--weights", type=Path, metavar="FILE", help=WEIGHTS_HELP)
    sub.add_argument("--frames", type=whole(1), metavar="N",
        help="put the first N test images, of all classes, into it, clean and attacked, for device bench and preview")  # fmt: skip
    sub.add_argument("--archive", action="store_true", help="also write DIR.tar.gz")
    sub.add_argument(
        "--last-exit", action="store_true",
        help="end the network at its last exit for --rad: no attack makes a frame cost more",
    )  # fmt: skip

    add_evaluate_arguments(command("evaluate", "Attacks x defences in figures, and the reports.", model=False))

    triton.add_arguments(
        command("triton", "Write a bundle's tail as a model repository of NVIDIA Triton.", model=False, data=False)
    )

    kit.add_arguments(command("kit", "Build a flash kit for a board.", model=False, data=False))

    sub = command("demo", "Export, attack, serve and run: the whole story in one table.", model=False)
    sub.add_argument("--model", choices=sorted(NETWORKS), default="vgg16")
    sub.add_argument("--frames", type=whole(1), default=300)
    sub.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR")

    return parser


def _run(argv: Sequence[str]) -> int:
    arguments = make_parser().parse_args(argv)
    return COMMANDS[arguments.command](arguments)


def _bundle(arguments: argparse.Namespace) -> int:
    settings = BundleSettings(
        arguments.split, arguments.rad, arguments.fuse_defq, arguments.archive, arguments.last_exit
    )
    files = find(arguments.model, arguments.weights)
    files = replace(files, table=arguments.table or files.table)
    print(files.told(), flush=True)
    export_bundle(files.model, arguments.out, settings, arguments.data, arguments.frames or 0, files)
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from export.commands.demo import run_demo  # draws figures: matplotlib only where it is needed

    return run_demo(arguments.model, arguments.frames, arguments.out, arguments.data)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    **model_cli.COMMANDS,
    "attack": attack.run,
    "bundle": _bundle,
    "evaluate": evaluate_command,
    "triton": triton.run,
    "kit": kit.run,
    "demo": _demo,
}
