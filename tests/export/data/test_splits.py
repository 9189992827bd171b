import cv2
import numpy as np
import pytest

from device.errors import DataError
from export.data import datasets
from export.data.images import Images
from export.data.splits import list_images


def write(folder, count, colour=0):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03}.png"), np.full((8, 8, 3), (0, colour, index), np.uint8))


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
    assert [data.classes.index(file.split("/")[0]) for file in few.files] == few.labels.tolist()
    own = [int(file.split("/")[1][:3]) for file in data.train.files if file.startswith("a/")]
    assert own != sorted(own)  # of a class, too, not the first files
    again = datasets.load(tmp_path, (8, 8))
    assert again.train.files == data.train.files
    assert again.sha256() == data.sha256()
    assert "seed 0" in data.order
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
        data._replace(train=data.train._replace(labels=data.train.labels[::-1])),
    ]
    assert len({each.sha256() for each in (data, *others)}) == 5
    assert data._replace(source="elsewhere", test=data.train).sha256() == data.sha256()


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


def test_all_unreadable_images_are_named_at_once(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 10)
    (tmp_path / "cup" / "003.png").write_bytes(b"no image")
    (tmp_path / "cup" / "007.png").write_bytes(b"")
    (tmp_path / "bowl" / "009.png").write_bytes((tmp_path / "bowl" / "008.png").read_bytes()[:30])
    refused(tmp_path, "could not read 3 of 20 images", "bowl/009.png", "cup/003.png", "cup/007.png (empty)")
    for index in range(10):
        for number in range(6):
            (tmp_path / "cup" / f"{index}{number}.png").write_bytes(b"no image")
    assert "and 23 more" in refused(tmp_path, "could not read 63 of 80")


def test_too_few_images_and_classes_are_named(tmp_path):
    write(tmp_path / "few" / "cup", 12)
    write(tmp_path / "few" / "bowl", 9)
    write(tmp_path / "few" / "jar", 3)
    text = refused(tmp_path / "few", "bowl has 9; jar has 3", "expected 10 or more of each class")
    assert "cup has" not in text
    write(tmp_path / "one" / "cup", 12)
    refused(tmp_path / "one", "found one class (cup)", "two or more")
    write(tmp_path / "flat", 12)
    refused(tmp_path / "flat", "found 12 images in", "but no class folders")
    for split, names in (("train", ("cup", "bowl")), ("val", ("cup",)), ("test", ("cup", "bowl", "jar"))):
        for name in names:
            write(tmp_path / "splits" / split / name, 2)
    text = refused(
        tmp_path / "splits", "bowl has none to calibrate with", "jar has none to train with and calibrate with"
    )
    assert "cup has" not in text


def test_names_alone_are_looked_at(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 10)
        (tmp_path / name / "extra.webp").write_bytes(b"not opened here")
    assert sum(map(len, list_images(tmp_path, {".png", ".webp"}).files)) == 22


def test_names_do_not_reach_the_terminal_as_they_are(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / name, 10)
    (tmp_path / "cup" / "a\x1b[31m.png").write_bytes(b"no image")
    refused(tmp_path, "could not read 1 of 21 images", r"'cup/a\x1b[31m.png'")
    for name in ("a\nb", b"caf\xe9".decode("utf-8", "surrogateescape")):
        write(tmp_path / "names" / name, 0)
        (tmp_path / "names" / name / "0.png").write_bytes(b"")
    refused(tmp_path / "names", r"names that cannot be printed", r"'a\nb'", r"'caf\udce9'")
