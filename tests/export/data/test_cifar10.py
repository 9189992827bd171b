"""CIFAR-10 in its two layouts, and files that are damaged or mean harm."""

import os
import pickle

import numpy as np
import pytest

from device.errors import DataError
from export.data import cifar10, datasets

SIZE = (32, 32)


@pytest.fixture(autouse=True)
def small_splits(monkeypatch):
    monkeypatch.setattr(cifar10, "TRAIN", slice(0, 6))
    monkeypatch.setattr(cifar10, "CALIBRATION", slice(6, 9))


def images(count, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8), generator.integers(0, 10, count)


def records(pixels, labels):
    planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    return np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)


def write_binary(folder, sizes=(4, 3, 3)):
    pixels, labels = images(sum(sizes))
    folder.mkdir(exist_ok=True, parents=True)
    start = 0
    for number, size in enumerate(sizes, start=1):
        records(pixels, labels)[start : start + size].tofile(folder / f"data_batch_{number}.bin")
        start += size
    records(*images(5, seed=1)).tofile(folder / "test_batch.bin")
    return pixels, labels


def test_binary_layout_with_any_number_of_records_a_file(tmp_path):
    pixels, labels = write_binary(tmp_path / "bin", (4, 1, 5))
    data = datasets.load(tmp_path / "bin", SIZE)
    np.testing.assert_array_equal(data.train.pixels, pixels[:6])
    np.testing.assert_array_equal(data.calibration.labels, labels[6:9])
    np.testing.assert_array_equal(data.test.pixels, images(5, seed=1)[0])
    assert data.calibration.first_id == 6
    assert data.classes[3] == "cat"


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_python_layout_as_the_official_archive_has_it(tmp_path, module):
    def write(name, pixels, labels):
        planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
        raw = pickle.dumps({b"data": planes, b"labels": [int(each) for each in labels]}, protocol=2)
        raw = raw.replace(b"numpy._core.multiarray", module.encode()) if b"numpy._core" in raw else raw
        (tmp_path / name).write_bytes(raw)

    pixels, labels = images(10)
    write("data_batch_1", pixels, labels)
    write("test_batch", *images(5, seed=1))
    data = datasets.load(tmp_path, SIZE)
    np.testing.assert_array_equal(data.train.pixels, pixels[:6])
    np.testing.assert_array_equal(data.train.labels, labels[:6])


def test_a_pickle_that_would_run_something_is_refused_unrun(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Evil()}))
    (tmp_path / "test_batch").write_bytes(b"")
    with pytest.raises(DataError, match="could not read .*data_batch_1"):
        datasets.load(tmp_path, SIZE)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "labels",
    [
        ["cat"] * 4,
        [b"cat"] * 4,
        [0, 1, 2, -1],
        [0, 1, 2, 99],
        [0.0, 1.0, 2.0, 3.0],
        [[0], [1], [2], [3]],
        [0, 1, 2],
        None,
        "cats",
    ],
)
def test_labels_that_are_no_classes_give_one_sentence(tmp_path, labels):
    content = {b"data": np.zeros((4, 3072), np.uint8), b"labels": labels}
    for name in ("data_batch_1", "test_batch"):
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError, match=r"data_batch_1.*expected"):
        datasets.load(tmp_path, SIZE)


def test_a_batch_that_cannot_be_read_gives_one_sentence(tmp_path, monkeypatch):
    write_binary(tmp_path)
    monkeypatch.setattr(cifar10, "MAX_FILE_BYTES", 100)
    with pytest.raises(DataError, match=r"could not read .*data_batch_1\.bin .*at most 100"):
        datasets.load(tmp_path, SIZE)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "data_batch_1.bin").write_bytes(b"x" * 5000), "multiple of 3073"),
        (lambda folder: (folder / "test_batch.bin").unlink(), r"no test_batch\.bin"),
        (lambda folder: (folder / "data_batch_2.bin").unlink(), "found 7 training images"),
        (lambda folder: (folder / "data_batch_1.bin").write_bytes(b"\x0c" * 3073 * 4), "found label 12"),
    ],
)
def test_spoilt_files_give_one_sentence(tmp_path, spoil, words):
    write_binary(tmp_path / "bin")
    spoil(tmp_path / "bin")
    with pytest.raises(DataError, match=words):
        datasets.load(tmp_path / "bin", SIZE)


def test_other_networks_see_the_images_at_their_size(tmp_path):
    pixels, _ = write_binary(tmp_path)
    data = datasets.load(tmp_path, (48, 64))
    assert data.train.pixels.shape == (6, 48, 64, 3)
    assert abs(float(data.train.pixels.mean()) - float(pixels[:6].mean())) < 1
    assert datasets.load(tmp_path, (16, 16)).test.pixels.shape == (5, 16, 16, 3)
    assert data.sha256() != datasets.load(tmp_path, SIZE).sha256()
    assert data.facts().source == "CIFAR-10"
    assert data.test_title() == "CIFAR-10 test images"
