"""Numbers of every command of export and host: whatever is typed, it is taken or refused in one sentence."""

import argparse
import importlib

import pytest

from device.system.options import Parser
from export.commands.cli import COMMANDS as EXPORT
from export.commands.cli import make_parser
from host.cli import COMMANDS as HOST
from tests.device.system.test_options import check_numbers, numeric

WANTED = {"bundle": "b", "model": "vgg16", "out": "o", "board": "pi-bookworm"}


def required(parser):
    words = []
    for action in parser._actions:
        if action.required:
            words += [action.option_strings[-1], WANTED[action.dest]]
    return words


def commands_of_export():
    (group,) = (action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return group.choices


@pytest.mark.parametrize("command", sorted(EXPORT))
def test_export(command):
    parser = commands_of_export()[command]
    assert isinstance(parser, Parser)
    check_numbers(parser, required(parser))


@pytest.mark.parametrize("command", sorted(HOST))
def test_host(command):
    parser = Parser(prog=f"python -m host {command}")
    importlib.import_module(HOST[command][0]).add_arguments(parser)
    assert numeric(parser)
    check_numbers(parser, required(parser))
