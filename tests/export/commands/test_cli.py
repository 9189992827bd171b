"""The commands of the export as a user calls them; what each does is tested in its own folder."""

import importlib
import shlex
import subprocess
import sys

import pytest

from device.system.options import Parser
from export.commands import cli

HEAVY = ("torch", "onnxruntime", "cv2", "matplotlib")


def imported(*words):
    """The names of all modules that a run of python -m export imports."""
    program = "import runpy, sys; sys.argv[1:] = {!r}\ntry:\n    runpy.run_module('export', run_name='__main__')\n"
    program += "except SystemExit as ended:\n    assert not ended.code, ended.code\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program.format(words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


def test_the_help_names_every_command_and_imports_none(capsys):
    modules = imported("--help")
    assert not modules & set(HEAVY)
    assert not {module for module, _ in cli.COMMANDS.values()} & modules
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert set(cli.COMMANDS) <= set(text.split())


def test_a_flash_kit_and_a_repository_of_triton_need_no_pytorch():
    assert "torch" not in imported("kit", "--help") | imported("triton", "--help")


@pytest.mark.parametrize(("name", "module"), [(name, module) for name, (module, _) in cli.COMMANDS.items()])
def test_each_command_has_two_examples_that_its_own_options_take(name, module):
    command = importlib.import_module(module)
    assert len(command.EXAMPLES) == 2
    for example in command.EXAMPLES:
        program, called, *options = shlex.split(example)
        assert program == "defq"
        parser = Parser()
        importlib.import_module(cli.COMMANDS[called][0]).add_arguments(parser)
        parser.parse_args(options)
    assert any(example.startswith(f"defq {name}") for example in command.EXAMPLES)


@pytest.mark.parametrize("module", [module for module, _ in cli.COMMANDS.values()])
def test_every_option_says_what_it_does(module):
    parser = Parser()
    importlib.import_module(module).add_arguments(parser)
    assert [action.option_strings for action in parser._actions if not action.help] == []


def test_an_unknown_command_is_one_sentence(capsys):
    assert cli.main(["tarin"]) == 2
    assert "tarin" in capsys.readouterr().err
