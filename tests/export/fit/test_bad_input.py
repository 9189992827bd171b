"""Whatever is wrong with what a user names is told in one sentence, before anything takes long."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from export.commands import cli
from export.fit.runner import LOCK
from tests.export.fit import small


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("DEFQ_ATTACKS", raising=False)
    monkeypatch.chdir(tmp_path)
    small.prepare(tmp_path)
    return tmp_path


@pytest.fixture
def refused(capsys):
    """Runs a fit that is refused, and gives the sentence."""

    def run(photographs, *options, out="out"):
        assert small.run(Path(photographs), Path(out), *options) in (2, 3)
        said = capsys.readouterr().err
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, said
        assert "Traceback" not in said
        assert not Path(out, "weights.safetensors").exists()
        return errors[0]

    return run


def test_no_photographs(refused, place):
    assert "found nothing at absent" in refused("absent")
    (place / "file").write_text("")
    assert "found a file at file" in refused("file")
    (place / "empty").mkdir()
    assert "in empty" in refused("empty")


def test_photographs_of_one_class_are_refused(refused, place):
    small.photographs(place / "one", 12, classes=("bolt",))
    assert "found one class (bolt)" in refused("one")


def test_a_class_of_three_photographs(refused, place):
    small.photographs(place / "photographs", 30)
    for file in sorted((place / "photographs" / "nut").iterdir())[3:]:
        file.unlink()
    assert "nut has 3" in refused("photographs")


def test_unreadable_photographs_are_named(refused, place):
    small.photographs(place / "photographs", 45)
    file = next((place / "photographs" / "gear").iterdir())
    file.write_bytes(file.read_bytes()[:200])
    sentence = refused("photographs")
    assert file.name in sentence
    assert "remove or replace them" in sentence


def test_a_size_that_there_is_not(capsys):
    assert cli.main(["fit", "photographs", "--size", "100", "--out", "out"]) == 2
    assert "found --size 100; expected one of 96, 128, 160, 224" in capsys.readouterr().err


def test_a_backbone_for_other_sizes_and_one_that_there_is_not(refused, place, capsys):
    small.photographs(place / "photographs", 45)
    assert "found images of 160 x 160 pixels" in refused("photographs", "--size", "160")
    assert cli.main(["fit", "photographs", "--backbone", "mobilnet", "--out", "out"]) == 2
    assert "mobilenet" in capsys.readouterr().err


def test_a_pattern_that_cannot_work(refused, place):
    small.photographs(place / "photographs", 45)
    assert "found --group" in refused("photographs", "--group", "(")


def test_a_folder_that_holds_something_else(refused, place):
    small.photographs(place / "photographs", 45)
    (place / "letters").mkdir()
    (place / "letters" / "letter.txt").write_text("mine")
    assert "found 1 other files in letters, such as letter.txt" in refused("photographs", out="letters")
    assert (place / "letters" / "letter.txt").read_text() == "mine"
    (place / "file").write_text("")
    assert "found a file at file" in refused("photographs", out="file")
    assert "one in the other" in refused("photographs", out="photographs/out")
    assert "one in the other" in refused("photographs/bolt", out="photographs")


@pytest.mark.parametrize(
    "text",
    ['{"format": "defq-fit", "format_version": 9}', "{", '{"format": "defq-fit", "format_version": 1, "settings": []}'],
)
def test_a_folder_of_another_release(refused, place, text):
    small.photographs(place / "photographs", 45)
    (place / "out").mkdir()
    (place / "out" / "fit.json").write_text(text)
    sentence = refused("photographs")
    assert "could not read out/fit.json" in sentence
    assert "name a new folder with --out" in sentence
    assert (place / "out" / "fit.json").read_text() == text


def test_a_model_of_another_release_in_the_folder_is_one_sentence(place, capsys):
    small.photographs(place / "photographs", 45)
    assert small.run(Path("photographs"), Path("out")) == 0
    description = json.loads(Path("out/model.json").read_text())
    Path("out/model.json").write_text(json.dumps({**description, "format_version": 9}))
    capsys.readouterr()
    assert small.run(Path("photographs"), Path("out")) == 3
    assert "in version 9" in capsys.readouterr().err


def test_a_second_fit_in_one_folder_is_refused(refused, place):
    small.photographs(place / "photographs", 45)
    (place / "out").mkdir()
    descriptor = os.open(place / "out" / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert "found another defq fit at work in out" in refused("photographs")
    finally:
        os.close(descriptor)


def test_a_folder_that_cannot_be_written(refused, place, monkeypatch):
    small.photographs(place / "photographs", 45)
    (place / "file").write_text("")
    assert "could not make the folder" in refused("photographs", out="file/inside")
