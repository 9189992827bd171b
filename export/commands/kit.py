"""defq kit: one archive with all that a board needs to run a bundle without a network."""

import argparse
import shlex
from pathlib import Path

from device.bundle.reader import load_bundle
from device.errors import UsageError
from device.system.suggest import did_you_mean
from export.commands.options import add_debug
from export.kit.archive import kit_files, write_kit
from export.kit.boards import BOARDS, JETPACK4_ON_X86
from export.kit.wheels import fetch_wheels

EXAMPLES = (
    "defq kit --bundle build/vgg16 --board pi-trixie",
    "defq kit --bundle build/vgg16.tar.gz --board jetson-nano --wheels wheels/",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", required=True, metavar="DIR", help="folder or .tar.gz made by defq bundle")
    parser.add_argument("--board", required=True, metavar="NAME", help="one of " + ", ".join(BOARDS))
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default: build/kits/defq-BOARD-BUNDLE.tar.gz, named by the bundle's id",
    )
    parser.add_argument(
        "--wheels", type=Path, metavar="DIR", help="wheels that are there already (default: build/wheels/BOARD)"
    )
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    board = {**BOARDS, JETPACK4_ON_X86.name: JETPACK4_ON_X86}.get(arguments.board)
    if board is None:
        raise UsageError(
            f"found board {arguments.board!r}; expected one of {', '.join(BOARDS)}{did_you_mean(arguments.board, BOARDS)}"
        )
    if not arguments.bundle:  # make without BUNDLE
        raise UsageError(
            "found no bundle; expected the folder of one, as in: make flash-kit BUNDLE=build/vgg16 BOARD=NAME"
        )
    bundle = load_bundle(arguments.bundle)  # before the download
    name = f"defq-{board.name}-{bundle.id}"
    out = arguments.out or Path("build/kits") / f"{name}.tar.gz"
    if out.is_dir():
        raise UsageError(f"found a folder at {out}; expected the name of an archive; choose another --out")
    wheels = fetch_wheels(board, arguments.wheels or Path("build/wheels") / board.name)
    write_kit(kit_files(arguments.bundle, board, wheels), name, out)
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB) for {board.title}")
    print(f"on the board: tar -xzf {shlex.quote(out.name)} && sudo ./{name}/install.sh")
    return 0
