"""python -m host: serve | cluster | keys."""

import argparse
import importlib
import sys

from device.errors import run_command

COMMANDS = {
    "serve": ("host.serve", "Answer frames that did not exit on a device."),
    "cluster": ("host.cluster", "The same in as many processes and on as many machines as the traffic needs (Ray Serve)."),
    "keys": ("host.keys", "Make keys, certificates and tokens for the host and its devices."),
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run one command. Its module alone is imported: serve needs no Ray, keys no ONNX Runtime."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] not in COMMANDS:
        parser = argparse.ArgumentParser(prog="python -m host", description="The host of early-exit devices.")
        commands = parser.add_subparsers(dest="command", metavar="COMMAND")
        for name, (_, text) in COMMANDS.items():
            commands.add_parser(name, help=text)
        parser.parse_args(argv)
        parser.error(f"expected a command: {', '.join(COMMANDS)}")
    name, text = argv[0], COMMANDS[argv[0]][1]
    command = importlib.import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser(prog=f"python -m host {name}", description=text)
    command.add_arguments(parser)
    arguments = parser.parse_args(argv[1:])
    return run_command(lambda: int(command.run(arguments)), arguments.debug)
