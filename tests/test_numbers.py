"""Numbers of every command of export and host: whatever is typed, it is taken or refused in one sentence."""

import importlib

import pytest

from device.system.options import Parser
from export.commands.cli import COMMANDS as EXPORT
from host.cli import COMMANDS as HOST
from tests.device.system.test_options import check_numbers, numeric

WANTED = {"bundle": "b", "photographs": "p", "model": "vgg16", "out": "o", "board": "pi-bookworm"}


def required(parser):
    words = []
    for action in parser._actions:
        if action.required:
            words += [*action.option_strings[-1:], WANTED[action.dest]]
    for group in parser._mutually_exclusive_groups:
        if group.required:
            first = group._group_actions[0]
            words += [first.option_strings[-1], WANTED[first.dest]]
    return words


@pytest.mark.parametrize(
    ("program", "command", "module"),
    [
        (program, name, module)
        for program, commands in (("export", EXPORT), ("host", HOST))
        for name, (module, _) in commands.items()
    ],
)
def test_every_command(program, command, module):
    parser = Parser(prog=f"python -m {program} {command}")
    importlib.import_module(module).add_arguments(parser)
    assert numeric(parser) or program == "export"
    check_numbers(parser, required(parser))
