import gzip
import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading

import cv2
import numpy as np
import pytest

from device.errors import DataError
from export.data import datasets, download


@pytest.fixture(autouse=True)
def small_splits(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "TRAIN", slice(0, 6))
    monkeypatch.setattr(datasets, "CALIBRATION", slice(6, 9))
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


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
    data = datasets.load(tmp_path / "bin")
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
    data = datasets.load(tmp_path)
    np.testing.assert_array_equal(data.train.pixels, pixels[:6])
    np.testing.assert_array_equal(data.train.labels, labels[:6])


def test_a_pickle_that_would_run_something_is_refused_unrun(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Evil()}))
    (tmp_path / "test_batch").write_bytes(b"")
    with pytest.raises(DataError, match="could not read .*data_batch_1"):
        datasets.load(tmp_path)
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
        datasets.load(tmp_path)


def test_a_batch_that_cannot_be_read_gives_one_sentence(tmp_path, monkeypatch):
    write_binary(tmp_path)
    monkeypatch.setattr(datasets, "MAX_FILE_BYTES", 100)
    with pytest.raises(DataError, match=r"could not read .*data_batch_1\.bin .*at most 100"):
        datasets.load(tmp_path)


def test_images_whose_names_are_no_text_and_one_that_is_cut_off(tmp_path):
    for name in ("cup", "bowl"):
        write_images(tmp_path / name, 20)
        os.rename(tmp_path / name / "07.png", os.fsencode(tmp_path / name) + b"/caf\xe9.png")
    assert len(datasets.load(tmp_path).train.labels) == 32
    cut = tmp_path / "cup" / "03.png"
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"could not read 1 of 40 images in .*: cup/03\.png .PNG: it is cut off"):
        datasets.load(tmp_path)


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
        datasets.load(tmp_path / "bin")


def test_where_it_looks(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="found no folder"):
        datasets.load(tmp_path / "absent")
    with pytest.raises(DataError, match="found neither CIFAR-10 nor images"):
        datasets.load(tmp_path)
    with pytest.raises(DataError, match="CIFAR10_DIR"):
        datasets.load(download=False)
    write_binary(tmp_path / "named" / "cifar-10-batches-bin")
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / "named"))
    assert len(datasets.load().test.labels) == 5


def write_images(folder, count):
    folder.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:02}.png"), np.full((20, 30, 3), (0, 0, 10 * index), np.uint8))


def test_image_folders_split_by_themselves_or_by_name(tmp_path):
    for name in ("cup", "bowl"):
        write_images(tmp_path / "flat" / name, 20)
        for split in ("train", "calibration", "test"):
            write_images(tmp_path / "named" / split / name, 2)
    data = datasets.load(tmp_path / "flat", size=(16, 24))
    assert data.classes == ("bowl", "cup")
    assert [len(part.labels) for part in data[:3]] == [32, 4, 4]
    assert data.test.pixels.shape == (4, 16, 24, 3)
    assert data.test.pixels[0, 0, 0].tolist() == [90, 0, 0]  # red, in RGB
    named = datasets.load(tmp_path / "named")
    assert [len(part.labels) for part in named[:3]] == [4, 4, 4]
    (tmp_path / "flat" / "cup" / "03.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"could not read .*03\.png"):
        datasets.load(tmp_path / "flat")


def archive_bytes():
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, content in (
            ("cifar-10-batches-bin/data_batch_1.bin", b"1" * 50),
            ("../../escape.bin", b"2" * 50),
            ("x/readme.html", b"3"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()


@pytest.fixture
def server():
    content = archive_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = {"/good": content, "/cut": content[:60], "/notar": gzip.compress(b"nothing")}.get(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_download_checks_the_hash_and_keeps_files_inside(tmp_path, server):
    sha256 = hashlib.sha256(archive_bytes()).hexdigest()
    download.fetch_archive(tmp_path / "d", server + "/good", sha256)
    folder = tmp_path / "d" / "cifar-10-batches-bin"
    assert (folder / "data_batch_1.bin").read_bytes() == b"1" * 50
    assert not (tmp_path / "escape.bin").exists()
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["cifar-10-batches-bin"]


@pytest.mark.parametrize("path", ["/cut", "/missing", "/good"])
def test_download_that_fails_leaves_nothing(tmp_path, server, path):
    with pytest.raises(DataError, match="name the folder with --data DIR"):
        download.fetch_archive(tmp_path / "d", server + path, "0" * 64)
    assert list((tmp_path / "d").iterdir()) == []


def test_download_of_no_archive_and_from_nowhere(tmp_path, server):
    sha256 = hashlib.sha256(gzip.compress(b"nothing")).hexdigest()
    with pytest.raises(DataError, match="could not download"):
        download.fetch_archive(tmp_path / "d", server + "/notar", sha256)
    with pytest.raises(DataError, match="could not download"):
        download.fetch_archive(tmp_path / "d", "http://127.0.0.1:1/x")
    with pytest.raises(DataError, match="could not download"):
        download.fetch_archive(tmp_path / "d", server + "/good", sha256, limit_s=-1)
