"""The program defq: which command belongs to which part, and what it says where a part or a library is missing."""

import os
import shutil
import subprocess
import sys

import pytest

from device import __version__
from device.commands import defq
from device.commands.cli import main as device_main
from device.commands.parts import PARTS, Part, part_of
from device.system import version

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def python(*words, **options):
    """Run Python on this project; stdout, stderr and exit code."""
    environment = dict(os.environ, PYTHONPATH=options.get("path", ROOT))
    done = subprocess.run(
        [sys.executable, *words], env=environment, cwd=options.get("cwd"), timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
    )  # fmt: skip
    return done.stdout, done.stderr, done.returncode


@pytest.fixture
def board(tmp_path):
    """A folder with device/ alone, as on a board. Python runs there with -S, so that it cannot see a project that is installed."""
    shutil.copytree(
        os.path.join(ROOT, "device"), str(tmp_path / "device"), ignore=shutil.ignore_patterns("__pycache__")
    )
    return str(tmp_path)


def test_help_lists_all_commands_and_imports_no_library():
    program = ("import sys; from device.commands.defq import main\n"
               "try: main(['--help'])\n"
               "except SystemExit as end: assert end.code == 0\n"
               "print('imported', sorted({'numpy', 'cv2', 'onnxruntime', 'torch', 'onnx', 'starlette', 'uvicorn'} & set(sys.modules)))")  # fmt: skip
    out, error, code = python("-c", program)
    assert (error, code) == ("", 0)
    assert out.endswith("imported []\n")
    for part in PARTS:
        assert "\n" + part.place in out
        for name in part.names:
            assert "\n  {} ".format(name) in out


def test_version_names_the_commit_where_it_is_known(capsys, monkeypatch, tmp_path):
    with pytest.raises(SystemExit) as ended:
        defq.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("defq " + __version__)
    monkeypatch.setattr(version, "PACKAGE", str(tmp_path))
    assert version.version_text("defq") == "defq " + __version__
    (tmp_path / version.COMMIT_FILE).write_text("0123456789ab\n")
    assert version.version_text("defq") == "defq {} (commit 0123456789ab)".format(__version__)
    (tmp_path / version.COMMIT_FILE).write_bytes(b"\x1b[2J\xff")
    assert version.version_text("defq") == "defq " + __version__


def test_the_commit_of_a_folder_that_is_no_repository_is_not_known(tmp_path, monkeypatch):
    assert version.git_commit(str(tmp_path)) == ""
    (tmp_path / ".git").mkdir()  # empty: git refuses it
    assert version.git_commit(str(tmp_path)) == ""
    monkeypatch.setenv("PATH", str(tmp_path))  # without git
    assert version.git_commit(str(tmp_path)) == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "error: found no command; expected one of run, bench, plan, preview"),
        (["trian"], "did you mean train?"),
        (["Preview", "--help"], "did you mean preview?"),
        (["zzz"], "see: defq --help"),
        (["--zzz"], "unrecognized arguments: --zzz; see: defq --help"),
    ],
)
def test_an_unknown_command_is_one_sentence(words, sentence, capsys):
    assert defq.main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_command_gets_its_options(capsys):
    assert defq.main(["run", "--bundle", "nowhere", "--source", "photos:"]) == 3
    assert "nowhere" in capsys.readouterr().err
    assert defq.main(["bench", "--rda", "5"]) == 2
    assert "did you mean --rad?; see: defq bench --help" in capsys.readouterr().err
    assert device_main(["bench", "--rda", "5"]) == 2
    assert "see: python -m device bench --help" in capsys.readouterr().err


def test_every_command_has_one_part():
    names = [name for part in PARTS for name in part.names]
    assert len(names) == len(set(names)) == 24
    assert part_of("keys").name == "host"
    assert part_of("preview").name == "device"
    assert part_of("nothing") is None


@pytest.mark.parametrize(("command", "part"), [("train", "export"), ("serve", "host")])
def test_a_board_says_which_part_a_command_belongs_to(board, command, part):
    out, error, code = python("-S", "-m", "device.commands.defq", command, "--model", "vgg16", path=board, cwd=board)
    assert (out, code) == ("", 4)
    assert error.startswith("error: found the command {}, which runs on a ".format(command))
    assert error.endswith("run: pip install '.[{}]'\n".format(part))
    out, error, code = python("-S", "-m", "device.commands.defq", "--help", path=board, cwd=board)
    assert (error, code) == ("", 0)
    assert "  {}".format(command) in out
    assert "not installed here" in out


def test_a_missing_library_of_the_device_is_one_sentence():
    program = (
        "import sys; sys.modules['cv2'] = None; from device.commands.defq import main; sys.exit(main(sys.argv[1:]))"
    )
    out, error, code = python("-c", program, "jpeg", "--help")
    assert (out, code) == ("", 4)
    assert error == ("error: found no library cv2; expected an installation with the part device; in the folder of the repository "
                     "run: pip install .\n")  # fmt: skip


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A part of this project with one command, whose module is to be written."""
    (tmp_path / "attic").mkdir()
    (tmp_path / "attic" / "__init__.py").write_text("COMMANDS = {'sweep': ('attic.sweep', 'Sweep.')}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    part = Part("attic", "under the roof", "attic", ("sweep",), (), (3, 6))
    for module in ("device.commands.defq", "device.commands.parts"):
        monkeypatch.setattr(module + ".PARTS", (part,))
    yield tmp_path / "attic" / "sweep.py"
    for name in ("attic", "attic.sweep"):
        sys.modules.pop(name, None)


def test_a_library_that_cannot_be_loaded_is_one_sentence(broken, capsys):
    broken.write_text("raise ImportError('libGL.so.1: no such file\\nand more', name='cv3')\n")
    assert defq.main(["sweep"]) == 4
    assert capsys.readouterr().err.startswith("error: could not import cv3 (libGL.so.1: no such file); expected an installation with the part attic")  # fmt: skip


def test_a_library_that_is_missed_while_a_command_runs_is_one_sentence(broken, capsys):
    broken.write_text("def add_arguments(parser): pass\ndef run(arguments): import no_such_broom\n")
    assert defq.main(["sweep"]) == 4
    assert capsys.readouterr().err.startswith("error: found no library no_such_broom; expected")


def test_an_error_of_this_project_itself_is_not_taken_for_a_missing_library(broken):
    broken.write_text("import attic.no_such_room\n")
    with pytest.raises(ImportError):
        defq.main(["sweep"])
