"""Photographs of one group stay in one split."""

import shutil

import pytest

from device.errors import DataError, UsageError
from export.data import datasets
from tests.export.data.photographs import write
from tests.export.data.test_splits import PARTS, splits_of

PERSON = r"person(\d+)"


def people(folder, count, each=4, classes=("cup", "bowl")):
    for name in classes:
        for person in range(count):
            write(folder / name / f"person{person:02}", each)


@pytest.mark.parametrize("pattern", [PERSON, r"person\d+", r"/(?:a(\d)|person\d+)"])
def test_groups_stay_together(tmp_path, pattern):
    people(tmp_path, 20)
    splits, data = splits_of(tmp_path, pattern)
    assert data.group == pattern
    by_person = {}
    for file, split in splits.items():
        by_person.setdefault(file.split("/")[1], set()).add(split)
    assert len(by_person) == 20
    assert all(len(found) == 1 for found in by_person.values())
    counts = [list(splits.values()).count(name) for name in PARTS]
    assert counts[0] > counts[1] >= 12
    assert counts[2] >= 12


def test_groups_stay_where_they_are_when_others_come(tmp_path):
    people(tmp_path, 30)
    before, _ = splits_of(tmp_path, PERSON)
    people(tmp_path, 30, each=7)
    people(tmp_path, 40)
    after, _ = splits_of(tmp_path, PERSON)
    assert {file: after[file] for file in before} == before


def test_groups_of_one_class_each_are_in_every_split(tmp_path):
    """Groups as in videos that show one object each, with the smallest number of groups in a class that can be split."""
    for name in ("cup", "bowl", "jar"):
        for video in range(3):
            write(tmp_path / name / f"{name}-video{video}", 6)
    splits, _ = splits_of(tmp_path, r"\w+-video\d")
    for name in ("cup", "bowl", "jar"):
        found = {file.split("/")[1]: split for file, split in splits.items() if file.startswith(name)}
        assert sorted(found.values()) == sorted(PARTS)


def test_a_large_group_is_trained_with(tmp_path):
    for number in range(8):  # wherever the hash of its name puts it
        folder = tmp_path / str(number)
        for name in ("cup", "bowl"):
            write(folder / name / f"video{number}large", 40)
            for small in ("x", "y", "z"):
                write(folder / name / f"video{number}{small}", 5)
        splits, _ = splits_of(folder, r"video\w+")
        assert {split for file, split in splits.items() if "large" in file} == {"train"}


def test_a_content_in_two_groups_joins_them(tmp_path):
    people(tmp_path, 12)
    for person in range(8):
        shutil.copy(tmp_path / "cup" / "person00" / "000.png", tmp_path / "cup" / f"person{person:02}" / "same.png")
    splits, _ = splits_of(tmp_path, PERSON)
    assert len({split for file, split in splits.items() if int(file.split("/")[1][-2:]) < 8}) == 1


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("person(", r"found --group 'person\(' \(.*\); expected a regular expression"),
        ("cup", "found 48 of 96 photographs that --group 'cup' does not match .bowl/person00/000.png, .* and 40 more"),
        ("person", "puts all photographs into 1 group .person.; expected three or more"),
        ("^(cup|bowl)", "puts all photographs into 2 groups .bowl, cup.; expected three or more"),
        (r"person0[01]|/person\d|nothing|", "puts all photographs into"),
    ],
)
def test_a_pattern_that_cannot_work(tmp_path, pattern, message):
    people(tmp_path, 12)
    with pytest.raises(UsageError, match=message):
        datasets.load(tmp_path, (8, 8), group=pattern)


def test_a_class_of_too_few_groups(tmp_path):
    people(tmp_path, 12)
    for person in (0, 1):
        write(tmp_path / "jar" / f"person{person:02}", 8)
    with pytest.raises(
        DataError, match=r"stay together, so that jar has none to \w+ with; expected three or more groups"
    ):
        datasets.load(tmp_path, (8, 8), group=PERSON)


def test_a_group_in_two_of_the_given_splits(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        for name in ("cup", "bowl"):
            write(tmp_path / split / name / f"person{number}", 3)
    assert datasets.load(tmp_path, (8, 8), group=PERSON).group == PERSON
    write(tmp_path / "test" / "cup" / "person0", 1)
    with pytest.raises(DataError, match=r"found 1 groups of --group .* in more than one of the folders .* \(0\)"):
        datasets.load(tmp_path, (8, 8), group=PERSON)
