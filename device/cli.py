"""python -m device: run | bench | preview | doctor | jpeg."""

import argparse
import importlib
import sys
from typing import List, Optional

from device.errors import run_command

COMMANDS = {
    "run": ("device.run", "Decide on the frames of a camera or of files."),
    "bench": ("device.bench", "Measure latency, exits, traffic and energy: clean, attacked and defended."),
    "preview": ("device.preview", "Show frames, exits and traffic in a browser, with an attack to switch on."),
    "doctor": ("device.doctor", "Check the board, its wheels, cameras and sensors, the bundle and the host."),
    "jpeg": ("device.jpeg_command", "Write frames as JPEG files that carry Q_def, and compare them with DefQ."),
}


def main(argv: Optional[List[str]] = None) -> int:
    """Run one command. Its module alone is imported: a board's first decision does not wait for the others."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] not in COMMANDS:
        parser = argparse.ArgumentParser(prog="python -m device", description="The device runtime.")
        commands = parser.add_subparsers(dest="command", metavar="COMMAND")
        for name, (_, text) in COMMANDS.items():
            commands.add_parser(name, help=text)
        parser.parse_args(argv)
        parser.error("expected a command: {}".format(", ".join(COMMANDS)))  # Python 3.6 has no required sub-commands
    name, text = argv[0], COMMANDS[argv[0]][1]
    command = importlib.import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser(prog="python -m device " + name, description=text)
    command.add_arguments(parser)
    arguments = parser.parse_args(argv[1:])
    return run_command(lambda: int(command.run(arguments)), arguments.debug)
