"""defq fit with a network of the user's own: --network FILE.py:build."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from device.bundle.reader import load_bundle
from export.commands import cli
from export.fit import pictures
from export.networks import user_code
from export.networks.model_files import in_folder
from tests.export.fit import small

OPTIONS = ("--size", "96", "--network", "own.py:build", "--epochs", "2")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Fits the photographs with own.py, and gives what it said."""
    monkeypatch.delenv("DEFQ_ATTACKS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(user_code, "_allowed", set())
    monkeypatch.setattr(pictures, "png_of", lambda figure: plt.close(figure) or b"\x89PNG")
    monkeypatch.chdir(tmp_path)
    small.prepare(tmp_path)
    small.photographs(tmp_path / "photographs")
    Path("own.py").write_text(small.NETWORK)

    def go(*options, status=0):
        assert cli.main(["fit", "photographs", "--out", "out", *(options or OPTIONS)]) == status
        said = capsys.readouterr()
        return said.out if status == 0 else said.err

    return go


def test_it_is_fitted_and_kept_until_its_code_changes(run):
    run()
    files = in_folder(Path("out"))
    assert (files.model, files.description.code.origin) == ("own", "own.py")
    assert Path("out/network.py").read_text() == small.NETWORK
    assert load_bundle("out/bundle").model == "own"
    again = run()
    assert again.count("as before") + again.count("; kept") >= 8
    assert "] train: as before" in again

    changed = small.NETWORK.replace("(8, 8, 12, 12)", "(8, 8, 12, 16)")
    Path("own.py").write_text(changed)
    assert "] train: as before" not in run()
    assert Path("out/network.py").read_text() == changed
    assert json.loads(Path("out/fit.json").read_text())["settings"]["network"] == "own.py:build"


def test_code_that_was_removed_from_the_folder_is_made_again(run):
    run()
    Path("out/network.py").unlink()
    assert "] train: as before" not in run()
    assert Path("out/network.py").is_file()


def test_what_is_wrong_is_told_before_anything_is_read(run):
    assert "could not read absent.py" in run("--network", "absent.py:build", status=3)
    Path("own.py").write_text("build = 7")
    assert "found no function build in own.py" in run(status=3)
    assert "not allowed with argument" in run("--network", "own.py:build", "--backbone", "small", status=2)
    Path("own.py").write_text(small.NETWORK)
    assert "found images of 160 x 160 pixels" in run("--network", "own.py:build", "--size", "160", status=2)
    assert not Path("out").exists()
