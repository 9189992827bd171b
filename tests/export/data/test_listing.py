"""What is found in a folder of photographs, by names alone."""

import os

import pytest

from device.errors import DataError
from export.data import datasets
from export.data.listing import list_photographs
from tests.export.data.photographs import write


def refused(folder, *words):
    with pytest.raises(DataError) as error:
        datasets.load(folder, (8, 8))
    text = str(error.value)
    assert "; expected " in text
    assert "\n" not in text
    for word in words:
        assert word in text, text
    return text


@pytest.mark.parametrize("calibration", ["calibration", "val", "valid", "Validation"])
def test_folders_of_splits_by_any_usual_name(tmp_path, calibration):
    for split, count in (("train", 4), (calibration, 3), ("test", 2)):
        for name in ("cup", "bowl"):
            write(tmp_path / split / name, count)
    data = datasets.load(tmp_path, (8, 8))
    assert data.classes == ("bowl", "cup")
    assert [len(part.labels) for part in data[:3]] == [8, 6, 4]
    assert all(file.startswith(f"{calibration}/") for file in data.calibration.files)


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train", "car", "test"):
        write(tmp_path / name, 10)
    assert datasets.load(tmp_path, (8, 8)).classes == ("car", "test", "train")


def test_an_incomplete_set_of_splits_says_which_is_missing(tmp_path):
    for split in ("train", "val"):
        for name in ("cup", "bowl"):
            write(tmp_path / split / name, 2)
    refused(tmp_path, "found train/, val/", "no folder to test with")
    for name in ("cup", "bowl"):
        write(tmp_path / "test" / name, 2)
        write(tmp_path / "valid" / name, 2)
    refused(tmp_path, "test/, train/, val/, valid/", "join those")


def test_photographs_in_folders_within_that_of_a_class(tmp_path, capsys):
    for name in ("cup", "bowl"):
        for video in ("monday", "friday/indoors"):
            write(tmp_path / name / video, 10)
        write(tmp_path / name, 2)
        (tmp_path / name / "again").symlink_to(tmp_path / name / "monday")
    data = datasets.load(tmp_path, (8, 8))
    files = [file for part in data[:3] for file in part.files]
    assert len(files) == 44
    assert {file.rsplit("/", 1)[0] for file in files if file.startswith("cup")} == {"cup", "cup/monday", "cup/friday/indoors"}  # fmt: skip
    assert "2 links to folders" in capsys.readouterr().err


def test_a_class_folder_may_be_a_link(tmp_path):
    write(tmp_path / "elsewhere", 10)
    write(tmp_path / "photographs" / "bowl", 10)
    (tmp_path / "photographs" / "cup").symlink_to(tmp_path / "elsewhere")
    assert datasets.load(tmp_path / "photographs", (8, 8)).classes == ("bowl", "cup")


def test_hidden_and_foreign_files_are_counted_and_told(tmp_path, capsys):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 10)
        (tmp_path / name / "._000.png").write_bytes(b"of a Mac")
        (tmp_path / name / "notes.TXT").write_text("mine")
    write(tmp_path / ".thumbnails", 3)
    write(tmp_path / "__MACOSX", 3)
    (tmp_path / "empty").mkdir()
    data = datasets.load(tmp_path, (8, 8))
    assert data.classes == ("bowl", "cup")
    said = capsys.readouterr().err
    assert "1 folders without images (empty); 4 hidden files and folders; 2 files that are no images (.txt)" in said


def test_what_lies_beside_the_folders_of_splits_is_told(tmp_path, capsys):
    for split in ("train", "val", "test"):
        for name in ("cup", "bowl"):
            write(tmp_path / split / name, 2)
    write(tmp_path / "extra" / "cup", 3)
    (tmp_path / "README").write_text("mine")
    (tmp_path / "val" / "list.csv").write_text("mine")
    datasets.load(tmp_path, (8, 8))
    said = capsys.readouterr().err
    assert "1 folders beside those of the splits (extra); 2 files that are no images (.csv, no suffix)" in said


def test_one_class_or_none(tmp_path):
    write(tmp_path / "one" / "cup", 12)
    refused(tmp_path / "one", "found one class (cup)", "two or more")
    write(tmp_path / "flat", 12)
    refused(tmp_path / "flat", "found 12 images in", "but no class folders")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "found neither CIFAR-10 nor images in")


def test_classes_that_differ_only_in_case(tmp_path):
    for name in ("cup", "Cup", "bowl", "B\u00f6gen", "bo\u0308gen"):
        write(tmp_path / "flat" / name, 10)
    refused(
        tmp_path / "flat", "differ only in case", "Cup and cup", "B\u00f6gen and bo\u0308gen", "join or rename them"
    )
    for split, name in (("train", "cup"), ("val", "cup"), ("test", "CUP")):
        write(tmp_path / "splits" / split / name, 2)
        write(tmp_path / "splits" / split / "bowl", 2)
    refused(tmp_path / "splits", "differ only in case", "CUP and cup")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_read(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name / "inner", 10)
    (tmp_path / "cup" / "inner").chmod(0)
    try:
        refused(tmp_path, "could not look into", "inner", "check its permissions")
    finally:
        (tmp_path / "cup" / "inner").chmod(0o700)


def test_names_alone_are_looked_at(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 10)
        (tmp_path / name / "extra.webp").write_bytes(b"not opened here")
    assert len(list_photographs(tmp_path, {".png", ".webp"}).photographs) == 22


def test_names_do_not_reach_the_terminal_as_they_are(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 10)
    (tmp_path / "cup" / "a\x1b[31m.png").write_bytes(b"no image")
    refused(tmp_path, "could not read 1 of 21 images", r"'cup/a\x1b[31m.png'")
    for name in ("a\nb", b"caf\xe9".decode("utf-8", "surrogateescape")):
        write(tmp_path / "names" / name, 0)
        (tmp_path / "names" / name / "0.png").write_bytes(b"")
    refused(tmp_path / "names", r"names that cannot be printed", r"'a\nb'", r"'caf\udce9'")
