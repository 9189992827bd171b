"""Writes docs/cli.md from the parsers of all commands: ``python -m tests.cli_page``. tests/test_commands.py says when it is old."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from device.commands.cli import parser_of
from device.commands.parts import PARTS

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD = """# Commands

<!-- Generated from the help of the commands: do not change it by hand, run "python -m tests.cli_page". -->

`defq COMMAND --help` prints the same. Where only one part is wanted, `python -m device`, `python -m export` and
`python -m host` take the commands of that part. `defq --version` prints the version, and the commit where it is known.

Exit codes: 0 done, 2 an option that cannot be used, 3 input that cannot be used, 4 hardware, a library or a part of this
project that is missing, 5 a host that was required and is not reachable. Every error is one sentence; `--debug` adds the
traceback.
"""
TITLES = {
    "positional arguments": "",
    "options": "",
    "optional arguments": "",
}  # of argparse: what is in no group of its own


def page() -> str:
    """The text of the page."""
    return "\n".join([HEAD, *_parts()]).rstrip() + "\n"


def all_parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command of ``defq`` with its parser."""
    for part in PARTS:
        commands = part.commands()
        for name in commands:
            yield name, parser_of("defq", name, commands)


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[argparse.Action]]]:
    """The shown options of a parser but for --help, by the title of their group, which is empty for those without one."""
    for group in parser._action_groups:
        shown = [
            each
            for each in group._group_actions
            if each.help != argparse.SUPPRESS and not isinstance(each, argparse._HelpAction)
        ]
        if shown:
            yield TITLES.get(group.title or "", group.title or ""), shown


def _parts() -> Iterator[str]:
    parsers = dict(all_parsers())
    for part in PARTS:
        yield f"## {part.place[0].upper()}{part.place[1:]}\n"
        for name in part.commands():
            yield from _command(name, parsers[name])


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"### defq {name}\n\n{parser.description}\n"
    if parser.epilog:
        examples = [line.strip() for line in parser.epilog.splitlines()[1:]]
        yield "\n".join(["```sh", *examples, "```\n"])
    groups = sorted(options(parser), key=lambda group: group[0] == "")  # options without a group come last
    for title, actions in groups:
        if title or len(groups) > 1:
            yield f"**{(title or 'other')[0].upper()}{(title or 'other')[1:]}**\n"
        yield "\n".join(_option(parser, each) for each in actions) + "\n"


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    if isinstance(action, argparse.BooleanOptionalAction):
        return f"* {', '.join(f'`{each}`' for each in action.option_strings)}: {action.help}"
    words = [action.option_strings[-1] if action.option_strings else "", _value(action)]
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    required = " (required)" if action.required else ""
    return f"* `{' '.join(filter(None, words))}`{required}: {text}"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.metavar is None:
        return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    return " ".join([action.metavar] * (action.nargs if isinstance(action.nargs, int) else 1))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
