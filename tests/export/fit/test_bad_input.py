"""Whatever is wrong with what a user names is told in one sentence, before anything takes long."""

import fcntl
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
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
        there = Path(out).exists()
        assert small.run(Path(photographs), Path(out), *options) in (2, 3)
        said = capsys.readouterr().err
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, said
        assert "Traceback" not in said
        assert not Path(out, "weights.safetensors").exists()
        assert Path(out).exists() == there  # no empty folder is left
        return errors[0]

    return run


def test_no_photographs(refused, place):
    assert "found nothing at absent" in refused("absent")
    (place / "file").write_text("")
    assert "found a file at file" in refused("file")
    (place / "empty").mkdir()
    assert "nor images in empty" in refused("empty")
    (place / "texts" / "bolt").mkdir(parents=True)
    (place / "texts" / "bolt" / "list.txt").write_text("mine")
    sentence = refused("texts")
    assert "nor images in texts; expected one folder for each class" in sentence
    assert "--data" not in sentence  # which this command does not have


def test_photographs_of_one_class_are_refused(refused, place):
    small.photographs(place / "one", 12, classes=("bolt",))
    assert "found one class (bolt)" in refused("one")


def test_a_class_of_three_photographs(refused, place):
    small.photographs(place / "photographs", 30)
    for file in sorted((place / "photographs" / "nut").iterdir())[3:]:
        file.unlink()
    assert "nut has 3" in refused("photographs")


def test_classes_that_differ_only_in_case(refused, place):
    small.photographs(place / "photographs", 60, classes=("Bolt", "bolt", "gear"))
    assert "names differ only in case" in refused("photographs")


def test_photographs_of_any_size(place, capsys):
    small.photographs(place / "photographs", 45)
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate(((20, 2000), (2000, 20), (3000, 4000))):
        for name in small.CLASSES:
            pixels = cv2.resize(random.integers(0, 256, (4, 4, 3), np.uint8), (width, height))
            cv2.imwrite(str(place / "photographs" / name / f"large{number}.jpg"), pixels)
    assert small.run(Path("photographs"), Path("out"), "--epochs", "1") == 0
    said = capsys.readouterr().out
    assert "99% at most; letterbox keeps all" in said
    assert "smaller than 96 x 96: 51" in said


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


def test_backgrounds_that_there_are_not(refused, place):
    small.photographs(place / "photographs", 45)
    assert "found no folder absent; expected photographs of what may lie behind" in refused(
        "photographs", "--backgrounds", "absent"
    )


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


def test_weights_of_another_size_in_the_folder_are_one_sentence(place, capsys):
    small.photographs(place / "photographs", 45)
    for size in ("96", "128"):
        assert small.run(Path("photographs"), Path(f"out{size}"), "--epochs", "1", "--size", size) == 0
    shutil.copy("out128/weights.safetensors", "out96/weights.safetensors")
    before = {file: file.read_bytes() for file in Path("out96").glob("*.json") if file.name != "fit.json"}
    capsys.readouterr()
    assert small.run(Path("photographs"), Path("out96"), "--epochs", "1") == 3
    said = capsys.readouterr().err
    assert "error: found weights for images of 128 x 128 pixels in out96/weights.safetensors; expected 96 x 96" in said
    assert {file: file.read_bytes() for file in before} == before


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
