"""python -m device: run | bench | preview | doctor | jpeg."""

import argparse
import importlib
import sys
from typing import Dict, List, Optional, Tuple

from device.errors import run_command

COMMANDS = {
    "run": ("device.run", "Decide on the frames of a camera or of files."),
    "bench": ("device.bench", "Measure latency, exits, traffic and energy: clean, attacked and defended."),
    "preview": ("device.preview", "Show frames, exits and traffic in a browser, with an attack to switch on."),
    "doctor": ("device.doctor", "Check the board, its wheels, cameras and sensors, the bundle and the host."),
    "jpeg": ("device.jpeg_command", "Write frames as JPEG files that carry Q_def, and compare them with DefQ."),
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
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] not in known:
        parser = argparse.ArgumentParser(prog=program, description=description)
        commands = parser.add_subparsers(dest="command", metavar="COMMAND")
        for name, (_, text) in known.items():
            commands.add_parser(name, help=text)
        parser.parse_args(argv)
        parser.error("expected a command: {}".format(", ".join(known)))  # Python 3.6 has no required sub-commands
    name, text = argv[0], known[argv[0]][1]
    command = importlib.import_module(known[name][0])
    parser = argparse.ArgumentParser(prog=program + " " + name, description=text)
    command.add_arguments(parser)
    arguments = parser.parse_args(argv[1:])
    return run_command(lambda: int(command.run(arguments)), arguments.debug)
