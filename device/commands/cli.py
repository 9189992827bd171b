"""The commands of the device, for ``python -m device``, and how every program of this project runs one command."""

import argparse
import importlib
import sys
from typing import Iterable, List, Optional, Tuple

from device.commands.parts import Commands, missing_library
from device.errors import UsageError
from device.system.console import open_streams, run_command
from device.system.options import Parser
from device.system.suggest import did_you_mean
from device.system.version import version_text

COMMANDS: Commands = {
    "run": ("device.commands.run", "Decide on the frames of a camera or of files."),
    "bench": ("device.commands.bench", "Measure latency, exits, traffic and energy: clean, attacked and defended."),
    "plan": ("device.commands.plan", "Say where to run a network: on the device, split, or at the host."),
    "preview": ("device.commands.preview", "Show frames, exits and traffic in a browser, with an attack to switch on."),
    "doctor": ("device.commands.doctor", "Check the board, its wheels, cameras and sensors, the bundle and the host."),
    "jpeg": ("device.commands.jpeg", "Write frames as JPEG files that carry Q_def, and compare them with DefQ."),
}


def main(argv: Optional[List[str]] = None) -> int:
    return dispatch("python -m device", "The device runtime.", COMMANDS, argv)


def dispatch(program: str, description: str, known: Commands, argv: Optional[List[str]] = None) -> int:
    """Run one command of a part. Its module alone is imported: a board's first decision does not wait for the others.

    Args:
        program: as the user calls it.
        argv: default: those of this process.
    """
    open_streams()  # before a command's libraries open files of their own
    given = sys.argv[1:] if argv is None else argv

    def body() -> int:
        if given and given[0] in known:
            return run_one(program, given[0], known, given[1:])
        help_of(program, description, [("commands", known)]).parse_args(given[:1])
        raise unknown(program, given, known)

    return run_command(body, "--debug" in given)


def run_one(program: str, name: str, known: Commands, argv: List[str]) -> int:
    """Import one command, read its options and run it.

    Raises:
        UsageError: options that it does not take.
        MissingPartError: a library that it needs is not installed.
    """
    module = known[name][0]
    try:
        parser = parser_of(program, name, known)
        return int(importlib.import_module(module).run(parser.parse_args(argv)))
    except ImportError as error:
        told = missing_library(module, error)
        if told is None:
            raise
        raise told from error


def parser_of(program: str, name: str, known: Commands) -> Parser:
    """The parser of one command, with two examples at the end of its help."""
    module, text = known[name]
    command = importlib.import_module(module)
    examples = getattr(command, "EXAMPLES", ())
    parser = Parser(
        prog="{} {}".format(program, name), description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if examples:
        parser.epilog = "examples:\n" + "\n".join("  " + each for each in examples)
    command.add_arguments(parser)
    return parser


def help_of(program: str, description: str, groups: Iterable[Tuple[str, Commands]]) -> Parser:
    """A parser that prints the help and the version of a program.

    Args:
        groups: a title, and the commands under it.
    """
    lines = []
    for title, commands in groups:
        lines += ["", title + ":"] + ["  {:<10}  {}".format(name, text) for name, (_, text) in commands.items()]
    parser = Parser(
        prog=program, usage=program + " COMMAND [OPTIONS]", description="\n".join([description, *lines]),
        epilog="The options of a command: {} COMMAND --help".format(program),
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "--version", action="version", version=version_text("defq"), help="print the version and its commit"
    )
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    return parser


def unknown(program: str, argv: List[str], names: Iterable[str]) -> UsageError:
    """The sentence for a command line that begins with no known command."""
    if not argv:
        return UsageError("found no command; expected one of {}; see: {} --help".format(", ".join(names), program))
    return UsageError("found the command {}; expected one of {}{}".format(
        argv[0][:40], ", ".join(names), did_you_mean(argv[0], names) or "; see: {} --help".format(program)))  # fmt: skip
