"""defq scan: what it says of a folder of photographs."""

import json
import shutil

import cv2
import numpy as np
import pytest

from device.errors import DataError
from export.commands import cli
from export.data import datasets
from export.data.scan import scan_folder
from tests.export.data.photographs import write
from tests.export.data.test_groups import PERSON, people

SIZE = (96, 96)


def photograph(file, height, width, seed=0):
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(file), pixels)


def test_a_folder_in_order(tmp_path, capsys):
    for name in ("cup", "bowl"):
        for number in range(12):
            photograph(tmp_path / name / f"{number}.jpg", 100 + number, 200, seed=number + 100 * len(name))
    assert cli.main(["scan", str(tmp_path)]) == 0
    said, warned = capsys.readouterr()
    assert not warned
    rows = [line.split() for line in said.splitlines()]
    assert rows[0] == ["class", "photographs", "different", "train", "calibration", "test"]
    data = datasets.load(tmp_path, SIZE)
    for row, label in zip(rows[1:3], range(2), strict=True):
        counts = [str((part.labels == label).sum()) for part in data[:3]]
        assert row == [data.classes[label], "12", "12", *counts]
    assert ["width", "200", "200", "200"] in rows
    assert ["height", "100", "106", "111"] in rows
    assert ["width", "/", "height", "1.80", "1.90", "2.00"] in rows
    assert "crop to 96 x 96 leaves out 48% of a photograph (median), 50% at most" in said
    assert "see --group" in said
    assert "ignored: nothing" in said


def test_everything_that_is_wrong_is_named(tmp_path, capsys):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 20)
    write(tmp_path / "jar", 3)
    photograph(tmp_path / "cup" / "narrow.png", 20, 2000)
    (tmp_path / "cup" / "003.png").write_bytes(b"no image")
    (tmp_path / "bowl" / "cut.png").write_bytes((tmp_path / "bowl" / "008.png").read_bytes()[:30])
    (tmp_path / "bowl" / "empty.jpg").write_bytes(b"")
    whole = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()
    (tmp_path / "bowl" / "spoilt.jpg").write_bytes(whole[:800] + bytes(60) + whole[860:])
    shutil.copy(tmp_path / "cup" / "004.png", tmp_path / "cup" / "copy.png")
    shutil.copy(tmp_path / "cup" / "005.png", tmp_path / "bowl" / "other.png")
    (tmp_path / "cup" / "list.csv").write_text("mine")
    (tmp_path / "cup" / "movie.MP4").write_text("mine")
    file = tmp_path / "scan.json"
    assert cli.main(["scan", str(tmp_path), "--json", str(file)]) == 3
    said, warned = capsys.readouterr()
    assert "corrupt: 4 (bowl/cut.png: " in said
    assert "bowl/spoilt.jpg: JPEG: it is damaged (Corrupt JPEG data" in said
    assert "the same content within a class: 1 (cup/004.png = cup/copy.png)" in said
    assert "the same content in two classes: 1 (bowl/other.png = cup/005.png)" in said
    assert "classes with fewer than 10 different photographs: 1 (jar)" in said
    assert "suffixes ignored: .csv 1, .mp4 1" in said
    assert "99% at most; letterbox keeps all" in said
    assert warned.startswith("warning: found too few different images in")
    assert warned.splitlines()[-1].startswith("error: could not read 4 of 49 images")
    found = json.loads(file.read_text())
    assert set(found["corrupt"]) == {"bowl/cut.png", "bowl/empty.jpg", "bowl/spoilt.jpg", "cup/003.png"}
    assert found["corrupt"]["bowl/empty.jpg"] == "empty"
    assert found["classes"]["jar"] == {"readable": 3, "different": 3, "few": True}
    assert found["ignored"]["suffixes"] == {".csv": 1, ".mp4": 1}
    assert found["duplicates"]["in_class"] == [["cup/004.png", "cup/copy.png"]]
    assert len(found["problems"]) == 2
    assert found["width"] == {"min": 8, "median": 8, "max": 2000}
    assert len(found["smaller_than_network"]) == 45


def test_the_scan_and_the_loader_refuse_the_same_files(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 20)
    for number, content in enumerate((b"", b"text", (tmp_path / "cup" / "000.png").read_bytes()[:-9])):
        (tmp_path / "cup" / f"bad{number}.png").write_bytes(content)
    scan = scan_folder(tmp_path, SIZE)
    with pytest.raises(DataError) as error:
        datasets.load(tmp_path, SIZE)
    assert list(map(str, scan.problems)) == [str(error.value)]


def test_given_splits_and_copies_between_them(tmp_path, capsys):
    for split in ("train", "val", "test"):
        for name in ("cup", "bowl"):
            write(tmp_path / split / name, 5)
    shutil.copy(tmp_path / "test" / "cup" / "001.png", tmp_path / "train" / "cup" / "copy.png")
    assert cli.main(["scan", str(tmp_path)]) == 0
    said, warned = capsys.readouterr()
    assert "split: the folders as they are" in said
    assert "the same content in two splits: 1 (train/cup/copy.png = test/cup/001.png)" in said
    assert "warning: found 1 photographs in two splits" in warned
    assert ["cup", "16", "15", "5", "5", "5"] in [line.split() for line in said.splitlines()]


def test_a_pattern_of_groups_is_shown_and_a_bad_one_refused(tmp_path, capsys):
    people(tmp_path, 20)
    assert cli.main(["scan", str(tmp_path), "--group", PERSON]) == 0
    assert f"split: by the groups of --group '{PERSON}'" in capsys.readouterr().out
    assert cli.main(["scan", str(tmp_path), "--group", "("]) == 2
    said, warned = capsys.readouterr()
    assert "corrupt: 0" in said
    assert "error: found --group '('" in warned


def test_classes_that_differ_only_in_case_are_still_shown(tmp_path, capsys):
    for name in ("cup", "Cup", "bowl"):
        write(tmp_path / name, 12)
    assert cli.main(["scan", str(tmp_path)]) == 3
    said, warned = capsys.readouterr()
    assert ["Cup", "12"] in [line.split()[:2] for line in said.splitlines()]
    assert "differ only in case" in warned


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_no_folder_or_no_images(tmp_path, capsys, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    assert cli.main(["scan", str(tmp_path / name)]) == 3
    said, warned = capsys.readouterr()
    assert not said
    assert warned.count("\n") == 1
    assert "; expected " in warned


def test_json_alone_on_stdout(tmp_path, capsys):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 12)
    assert cli.main(["scan", str(tmp_path), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"] == "by content"
