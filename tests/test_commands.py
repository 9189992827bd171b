"""What holds for every command of defq: texts, examples, and the page docs/cli.md."""

import argparse
import shlex

import pytest

from device.commands.parts import PARTS
from tests import cli_page

PARSERS = dict(cli_page.all_parsers())


def actions(parser):
    return [action for _, group in cli_page.options(parser) for action in group]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_the_names_that_are_known_without_a_part_are_those_of_the_part(part):
    assert part.names == tuple(part.commands())
    assert part.missing() == ""


@pytest.mark.parametrize("command", PARSERS)
def test_every_option_has_a_text(command):
    for action in actions(PARSERS[command]):
        assert action.help, action.option_strings
        assert action.help == action.help.strip().rstrip("."), action.option_strings


@pytest.mark.parametrize("command", PARSERS)
def test_every_command_ends_its_help_with_two_examples_that_work(command):
    parser = PARSERS[command]
    title, *examples = parser.epilog.splitlines()
    assert title == "examples:"
    assert len(examples) == 2
    for example in examples:
        program, name, *words = shlex.split(example)
        assert program == "defq"
        PARSERS[name].parse_args(words)  # the second may show what comes next
    assert shlex.split(examples[0])[1] == command
    assert parser.format_help().endswith(parser.epilog + "\n")


def test_the_page_of_the_commands_is_that_of_their_help():
    text = cli_page.page()
    written = cli_page.PAGE.read_text(encoding="utf-8")
    assert written == text, "docs/cli.md is old: run python -m tests.cli_page"
    for command, parser in PARSERS.items():
        assert f"### defq {command}\n" in text
        for action in actions(parser):
            assert f"`{(action.option_strings or [action.metavar])[-1]}" in text
    assert argparse.SUPPRESS not in text
