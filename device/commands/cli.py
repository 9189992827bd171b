"""python -m device: run | bench | preview | doctor | jpeg."""

import importlib
import sys
from typing import Dict, List, Optional, Tuple

from device.system.console import open_streams, run_command
from device.system.options import Parser

COMMANDS = {
    "run": ("device.commands.run", "Decide on the frames of a camera or of files."),
    "bench": ("device.commands.bench", "Measure latency, exits, traffic and energy: clean, attacked and defended."),
    "preview": ("device.preview", "Show frames, exits and traffic in a browser, with an attack to switch on."),
    "doctor": ("device.doctor", "Check the board, its wheels, cameras and sensors, the bundle and the host."),
    "jpeg": ("device.commands.jpeg", "Write frames as JPEG files that carry Q_def, and compare them with DefQ."),
}


def main(argv: Optional[List[str]] = None) -> int:
    return dispatch("python -m device", "The device runtime.", COMMANDS, argv)


def dispatch(
    program: str, description: str, known: Dict[str, Tuple[str, str]], argv: Optional[List[str]] = None
) -> int:
    """Run one command. Its module alone is imported: a board's first decision does not wait for the others.

    Args:
        program: as the user calls it.
        known: name -> module with add_arguments(parser) and run(arguments), and what it does.
        argv: default: those of this process.
    """
    open_streams()  # before a command's libraries open files of their own
    given = sys.argv[1:] if argv is None else argv
    return run_command(lambda: _run(program, description, known, given), "--debug" in given)


def _run(program: str, description: str, known: Dict[str, Tuple[str, str]], argv: List[str]) -> int:
    if not argv or argv[0] not in known:
        parser = Parser(prog=program, description=description)
        commands = parser.add_subparsers(dest="command", metavar="COMMAND")
        for name, (_, text) in known.items():
            commands.add_parser(name, help=text)
        parser.parse_args(argv)
        parser.error("expected a command: {}".format(", ".join(known)))  # Python 3.6 has no required sub-commands
    parser = Parser(prog="{} {}".format(program, argv[0]), description=known[argv[0]][1])
    command = importlib.import_module(known[argv[0]][0])
    command.add_arguments(parser)
    return int(command.run(parser.parse_args(argv[1:])))
