"""How photographs are divided into those to train, to calibrate and to test."""

import shutil

import numpy as np
import pytest

from device.errors import DataError
from export.data import datasets
from export.data.images import Images
from tests.export.data.photographs import class_of, write
from tests.export.data.test_listing import refused

PARTS = ("train", "calibration", "test")


def splits_of(folder, group=""):
    """The split of each file, and all of the data."""
    data = datasets.load(folder, (8, 8), group=group)
    return {file: name for name in PARTS for file in getattr(data, name).files}, data


def test_every_class_has_its_share_in_each_split(tmp_path):
    for name, count in (("a", 300), ("b", 100), ("c", 20)):
        write(tmp_path / name, count)
    splits, _ = splits_of(tmp_path)
    assert len(splits) == 420
    for name, count in (("a", 300), ("b", 100), ("c", 20)):
        found = [split for file, split in splits.items() if class_of(file) == name]
        for split, share in (("train", 0.70), ("calibration", 0.15), ("test", 0.15)):
            assert found.count(split) >= max(1, int(count * share / 2))
            assert abs(found.count(split) - count * share) < 4 * (count * share) ** 0.5


@pytest.mark.parametrize("count", [10, 11, 13])
def test_the_smallest_classes_are_in_every_split(tmp_path, count):
    names = [f"class{number}" for number in range(12)]
    for name in names:
        write(tmp_path / name, count)
    splits, _ = splits_of(tmp_path)
    for name in names:
        found = [split for file, split in splits.items() if class_of(file) == name]
        assert set(found) == set(PARTS)
        assert found.count("train") >= count * 0.35 - 1


def test_a_photograph_stays_in_its_split_when_others_come_and_names_change(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 60)
    before, data = splits_of(tmp_path)
    for name in ("cup", "bowl"):
        write(tmp_path / name, 30, start=60)
    after, _ = splits_of(tmp_path)
    assert {file: after[file] for file in before} == before
    for name in ("cup", "bowl"):
        for number in range(60, 90):
            (tmp_path / name / f"{number:03}.png").unlink()
        for file in sorted((tmp_path / name).iterdir()):
            file.rename(file.with_name(f"{(int(file.stem) * 7) % 61:03}-renamed.png"))
    renamed, again = splits_of(tmp_path)
    assert again.sha256() == data.sha256()
    assert {f"{class_of(file)}/{(int(file[-7:-4]) * 7) % 61:03}-renamed.png": split for file, split in before.items()} == renamed  # fmt: skip


def test_every_beginning_is_a_sample_of_all_classes(tmp_path):
    for name, count in (("a", 200), ("b", 100), ("c", 20)):
        write(tmp_path / name, count)
    data = datasets.load(tmp_path, (8, 8))
    for part in data[:3]:
        assert set(part.labels[:3].tolist()) == {0, 1, 2}
        whole = np.bincount(part.labels) / len(part.labels)
        half = np.bincount(part.labels[: len(part.labels) // 2], minlength=3) / (len(part.labels) // 2)
        np.testing.assert_allclose(half, whole, atol=0.1)
    few = data.test.take(3)
    assert [data.classes.index(class_of(file)) for file in few.files] == few.labels.tolist()
    own = [int(file.split("/")[1][:3]) for file in data.train.files if file.startswith("a/")]
    assert own != sorted(own)  # of a class, too, not the first files
    again = datasets.load(tmp_path, (8, 8))
    assert again.train.files == data.train.files
    assert again.sha256() == data.sha256()
    assert data.test.ids(np.array([1])) == [data.test.files[1]]
    for file, pixels in zip(data.train.files, data.train.pixels, strict=True):
        assert pixels[0, 0, 0] == int(file.split("/")[1][:3])


def test_cifar10_stays_in_its_order_and_is_numbered():
    images = Images(np.zeros((5, 2, 2, 3), np.uint8), np.arange(5), 43_000)
    assert images.ids(np.array([0, 4])) == [43_000, 43_004]


def test_other_images_or_another_order_of_classes_have_another_fingerprint(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 10)
    data = datasets.load(tmp_path, (8, 8))
    changed = data.train.pixels.copy()
    changed[0, 0, 0, 0] ^= 1
    others = [
        data._replace(train=data.train._replace(pixels=changed)),
        data._replace(classes=data.classes[::-1]),
        data._replace(calibration=data.calibration.take(1)),
        data._replace(train=data.train._replace(labels=1 - data.train.labels)),
    ]
    assert len({each.sha256() for each in (data, *others)}) == 5
    assert data._replace(source="elsewhere", test=data.train).sha256() == data.sha256()


def test_all_unreadable_images_are_named_at_once(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 15)
    (tmp_path / "cup" / "003.png").write_bytes(b"no image")
    (tmp_path / "cup" / "007.png").write_bytes(b"")
    (tmp_path / "bowl" / "009.png").write_bytes((tmp_path / "bowl" / "008.png").read_bytes()[:30])
    refused(tmp_path, "could not read 3 of 30 images", "bowl/009.png", "cup/003.png", "cup/007.png (empty)")
    for number in range(60):
        (tmp_path / "cup" / f"b{number}.png").write_bytes(b"no image")
    assert "and 23 more" in refused(tmp_path, "could not read 63 of 90")


def test_too_few_images_are_named(tmp_path):
    write(tmp_path / "few" / "cup", 12)
    write(tmp_path / "few" / "bowl", 9)
    write(tmp_path / "few" / "jar", 3)
    text = refused(tmp_path / "few", "bowl has 9; jar has 3", "expected 10 or more of each class")
    assert "cup has" not in text
    for split, names in (("train", ("cup", "bowl")), ("val", ("cup",)), ("test", ("cup", "bowl", "jar"))):
        for name in names:
            write(tmp_path / "splits" / split / name, 2)
    text = refused(
        tmp_path / "splits", "bowl has none to calibrate with", "jar has none to train with and calibrate with"
    )
    assert "cup has" not in text


def test_copies_of_one_photograph_are_no_ten_photographs(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 5)
        for number in range(9):
            shutil.copy(tmp_path / name / "000.png", tmp_path / name / f"copy{number}.png")
    refused(tmp_path, "too few different images", "bowl has 5; cup has 5")


def test_copies_stay_in_one_split(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 40)
        for number in range(40):
            shutil.copy(tmp_path / name / f"{number:03}.png", tmp_path / name / f"copy{number:03}.png")
    splits, _ = splits_of(tmp_path)
    assert len(splits) == 160
    for file, split in splits.items():
        assert splits[file.replace("/copy", "/")] == split


def test_a_photograph_in_two_classes_is_named(tmp_path, capsys):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 20)
    shutil.copy(tmp_path / "cup" / "004.png", tmp_path / "bowl" / "other.png")
    splits, _ = splits_of(tmp_path)
    assert splits["cup/004.png"] == splits["bowl/other.png"]
    assert "found 1 photographs in two classes" in (said := capsys.readouterr().err)
    assert "bowl/other.png is cup/004.png" in said


def test_a_photograph_in_two_of_the_given_splits_is_tested_with_alone(tmp_path, capsys):
    for split in ("train", "val", "test"):
        for name in ("cup", "bowl"):
            write(tmp_path / split / name, 5)
    shutil.copy(tmp_path / "test" / "cup" / "001.png", tmp_path / "train" / "cup" / "copy.png")
    shutil.copy(tmp_path / "test" / "cup" / "001.png", tmp_path / "val" / "cup" / "copy.png")
    shutil.copy(tmp_path / "val" / "bowl" / "002.png", tmp_path / "train" / "bowl" / "copy.png")
    shutil.copy(tmp_path / "test" / "cup" / "002.png", tmp_path / "test" / "cup" / "copy.png")
    splits, data = splits_of(tmp_path)
    assert [len(part.labels) for part in data[:3]] == [10, 10, 11]
    assert not {"train/cup/copy.png", "val/cup/copy.png", "train/bowl/copy.png"} & set(splits)
    said = capsys.readouterr().err
    assert "warning: found 3 photographs in two splits" in said
    assert "train/cup/copy.png is test/cup/001.png" in said
    assert "train/bowl/copy.png is val/bowl/002.png" in said


def test_a_class_whose_training_photographs_are_all_tested_with(tmp_path):
    for split in ("train", "val", "test"):
        write(tmp_path / split / "bowl", 2)
    write(tmp_path / "train" / "cup", 2)
    write(tmp_path / "val" / "cup", 2)
    shutil.copytree(tmp_path / "train" / "cup", tmp_path / "test" / "cup")
    with pytest.raises(DataError, match="cup has none to train with"):
        datasets.load(tmp_path, (8, 8))
