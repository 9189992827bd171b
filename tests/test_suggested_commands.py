"""Every command that a message tells people to run can be run as it stands: its own parser takes it.

The text of a message says ``...: defq COMMAND options`` or ``...: python -m PROGRAM COMMAND options``; without the colon it
only names the command. What is filled in later is replaced by a value that fits.
"""

import argparse
import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.commands.parts import PARTS

ROOT = Path(__file__).parent.parent
COMMANDS = {name: module for part in PARTS for name, (module, _) in part.commands().items()}
PROGRAM = rf"(?:python3? -m (?:device|export|host)|defq(?= (?:{'|'.join(COMMANDS)}|\{{\}})(?!\w)))"
SUGGESTED = re.compile(rf"(?:^|: |&& |, |\n\s*)({PROGRAM} (?:[^;,`()\n]|,(?=\S))*)")
VALUES = {
    "--defq": "on",
    "export": "gate",
    "defq": "gate",
    "--last-exit": "5",
    "--rad": "5",
    "--split": "3",
    "--name": "edge.example",
    "--port": "8000",
}


def texts(tree: ast.Module) -> Iterator[str]:
    """The literal texts of a module but for its docstrings; {} stands for what is filled in."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False):
            skipped.add(node.body[0].value)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # of a field
            skipped.add(node.value)
        if isinstance(node, ast.JoinedStr):
            skipped.update(node.values)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(map(_part, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _part(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    names_a_network = isinstance(value, ast.FormattedValue) and getattr(value.value, "attr", "") == "option"
    return "--model vgg16" if names_a_network else "{}"


def messages() -> Iterator[tuple[str, str]]:
    """Each file with each of its texts."""
    for folder in ("device", "export", "host"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for text in texts(ast.parse(file.read_text())):
                yield str(file.relative_to(ROOT)), re.sub(r"\{[^{}]*\}", "{}", text)


def suggestions() -> list[tuple[str, str]]:
    return [(file, match.strip()) for file, text in messages() for match in SUGGESTED.findall(text)]


def filled_in(command: str) -> list[str]:
    words = shlex.split(command.replace("'{}'", "{}").partition(" && ")[0].partition(", and ")[0], comments=True)
    given = ["", *words]
    return [
        word.replace("{}", VALUES.get(before, "vgg16"))
        for before, word in zip(given, words, strict=False)
        if word != "{}" or before.startswith("--") or before in VALUES  # else options that are filled in, or none
    ]


def parse(words: list[str]) -> None:
    command, *options = words[1:] if words[0] == "defq" else words[3:]
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[command]).add_arguments(parser)
    parser.parse_args(options)


def test_there_are_commands_to_check():
    assert len(suggestions()) > 20


def test_defq_is_a_command_and_no_module():
    assert [each for each in messages() if "-m defq" in each[1]] == []


@pytest.mark.parametrize(("file", "command"), sorted(set(suggestions())))
def test_a_suggested_command_runs_as_it_stands(file, command):
    parse(filled_in(command))
