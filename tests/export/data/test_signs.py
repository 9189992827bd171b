"""The hand-sign digits: from their archive, from a folder, and refused where something is amiss."""

import hashlib
import http.server
import io
import re
import shutil
import tarfile
import threading

import cv2
import numpy as np
import pytest

from device.errors import DataError, UsageError
from export.data import datasets, signs
from export.data.scan import scan_folder

SIZE = (96, 96)
FIRST = {"train": 10, "calibration": 40, "test": 60}
TOP = "Sign-Language-Digits-Dataset-master"


@pytest.fixture(scope="module")
def contents():
    """A small archive's photographs: three students to train with, two to calibrate with and two to test with."""
    made = {}
    for number in range(10, 80):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        made[f"{number % 10}/IMG_{number:04}.JPG"] = cv2.imencode(".jpg", pixels)[1].tobytes()
    return made


@pytest.fixture
def small(contents, monkeypatch, no_data):
    """The loader for this archive."""
    known = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    monkeypatch.setattr(signs, "hashes", lambda: known)
    monkeypatch.setattr(signs, "FIRST", FIRST)
    return contents


def write(folder, contents):
    for file, content in contents.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return folder


def packed(contents, **others):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        files = {f"{TOP}/Dataset/{file}": content for file, content in contents.items()}
        for name, content in {**files, f"{TOP}/README.md": b"about", "../../escape": b"x", **others}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo(f"{TOP}/Dataset/0/IMG_0010.JPG")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return raw.getvalue()


@pytest.fixture
def url(small):
    """Where the archive is served."""
    changed = {**small, "0/IMG_0010.JPG": small["1/IMG_0011.JPG"]}
    fewer = {file: content for file, content in small.items() if not file.startswith("7")}
    bodies = {
        "/good": packed(small),
        "/changed": packed(changed),
        "/fewer": packed(fewer),
        "/cut": packed(small)[:9000],
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = bodies.get(self.path)
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


def check(data):
    assert data.classes == tuple("0123456789")
    assert [len(part.labels) for part in data[:3]] == [30, 20, 20]
    assert data.name == "signs"
    assert data.facts().source == "signs"
    assert data.test_title() == "signs test images"
    for part, (first, end) in zip(data[:3], ((10, 40), (40, 60), (60, 80)), strict=True):
        numbers = {int(re.search(r"IMG_(\d+)", file)[1]) for file in part.files}
        assert numbers == set(range(first, end))
        assert [int(file[0]) for file in part.files] == part.labels.tolist()
        assert part.pixels.shape[1:] == (96, 96, 3)


def test_the_archive_is_downloaded_once_and_checked(url, small, tmp_path, monkeypatch):
    monkeypatch.setattr(signs.fetch_signs, "__defaults__", (url + "/good", 60))
    data = datasets.load("signs", SIZE, "crop")
    check(data)
    assert data.fit == "crop"
    cached = tmp_path / "cache" / "defq" / signs.FOLDER
    assert sum(file.is_file() for file in cached.rglob("*")) == 70
    assert not list((tmp_path / "cache" / "defq").glob("*.partial"))
    assert not (tmp_path / "escape").exists()
    monkeypatch.setattr(signs.fetch_signs, "__defaults__", ("http://127.0.0.1:1/absent", 1))
    assert datasets.load(None, SIZE, "crop", source="signs").sha256() == data.sha256()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/changed",
            r"found 1 photographs of hand-sign digits in its download with another content .* \(0/IMG_0010.JPG\)",
        ),
        ("/fewer", r"found 63 of 70 photographs in the public archive .*7/IMG_0017.JPG.* are not there"),
        ("/cut", "could not download hand-sign digits from .*/cut"),
        ("/absent", "could not download hand-sign digits from .*404"),
    ],
)
def test_a_download_that_fails_leaves_nothing(url, tmp_path, path, message):
    with pytest.raises(DataError, match=message) as error:
        signs.fetch_signs(tmp_path / "d", url + path, 60)
    assert "name its folder with --data DIR or SIGNS_DIR" in str(error.value)
    assert list((tmp_path / "d").iterdir()) == []


def test_no_network_and_an_archive_without_end(url, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="could not download hand-sign digits from http://127.0.0.1:1/x"):
        signs.fetch_signs(tmp_path / "d", "http://127.0.0.1:1/x")
    monkeypatch.setattr(signs, "ARCHIVE_BYTES", 1000)
    with pytest.raises(DataError, match="it has more than 1000 bytes"):
        signs.fetch_signs(tmp_path / "d", url + "/good")
    with pytest.raises(DataError, match="found no hand-sign digits; name their folder"):
        datasets.load(None, SIZE, source="signs", download=False)


@pytest.mark.parametrize("inner", ["", "Dataset", TOP + "/Dataset"])
@pytest.mark.parametrize("by", ["option", "variable", "source"])
def test_a_folder_is_read_as_it_lies(small, tmp_path, monkeypatch, inner, by):
    write(tmp_path / "own" / inner, small)
    (tmp_path / "own" / inner / "3" / "IMG_9999.JPG").write_bytes(b"of another number: not used")
    if by == "option":
        return check(datasets.load(tmp_path / "own", SIZE))
    monkeypatch.setenv("SIGNS_DIR", str(tmp_path / "own"))
    check(datasets.load("signs", SIZE) if by == "variable" else datasets.load(None, SIZE, source="signs"))
    assert datasets.named(None, "signs") == tmp_path / "own"
    assert datasets.named(None) is None
    return None


def test_a_folder_called_signs_comes_before_the_archive(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "signs", small)
    check(datasets.load("signs", SIZE))
    shutil.rmtree(tmp_path / "signs")
    (tmp_path / "signs").mkdir()
    with pytest.raises(DataError, match="found neither CIFAR-10 nor images in signs"):
        datasets.load("signs", SIZE)


def test_a_folder_where_something_is_amiss(small, tmp_path, monkeypatch):
    own = write(tmp_path / "own", small)
    (own / "4" / "IMG_0014.JPG").unlink()
    with pytest.raises(DataError, match=r"found 69 of the 70 photographs .*; 4/IMG_0014.JPG is not there"):
        datasets.load(own, SIZE)
    write(own, {"4/IMG_0014.JPG": small["5/IMG_0015.JPG"]})
    with pytest.raises(DataError, match=r"found 1 photographs .* with another content .*\(4/IMG_0014.JPG\)"):
        datasets.load(own, SIZE)
    write(own, {"4/IMG_0014.JPG": small["4/IMG_0014.JPG"]})
    with pytest.raises(UsageError, match="holds signs and has splits of its own"):
        datasets.load(own, SIZE, group=r"IMG_(\d)")
    monkeypatch.setenv("SIGNS_DIR", str(tmp_path / "absent"))
    with pytest.raises(DataError, match="found no hand-sign digits in SIGNS_DIR, .*absent"):
        datasets.load("signs", SIZE)


def test_digits_of_another_kind_are_a_folder_of_photographs(small, tmp_path):
    write(tmp_path, {file.replace("IMG_", "mine"): content for file, content in small.items()})
    for number in range(5):  # ten photographs a class
        write(tmp_path, {file.replace("IMG_", f"more{number}"): content + bytes([number]) for file, content in small.items()})  # fmt: skip
    assert datasets.load(tmp_path, SIZE).name == "images of a folder"


def test_the_scan_knows_the_split(small, tmp_path):
    scan = scan_folder(write(tmp_path / "own", small), SIZE)
    assert scan.how_split == "by participant"
    assert [sum(each.splits[name] for each in scan.classes.values()) for name in FIRST] == [30, 20, 20]
    assert not scan.problems


def test_the_list_of_photographs():
    known = signs.hashes()
    assert len(known) == 1753
    assert all(re.fullmatch(r"[0-9]/IMG_[1-5]\d{3}\.JPG", file) and re.fullmatch("[0-9a-f]{64}", each) for file, each in known.items())  # fmt: skip
    assert len(set(known.values())) == 1753
    listing = signs.listed(signs.Path("."))
    for split, first in signs.FIRST.items():
        numbers = {int(each.file[-8:-4]): each.label for each in listing.photographs if each.split == split}
        assert min(numbers) == first
        assert numbers[first] == 0  # a student begins
        assert numbers[max(numbers)] == 9  # and one ends
    assert max(int(file[-8:-4]) for file in known) < 5685


def test_the_real_photographs(signs):
    assert [len(part.labels) for part in signs[:3]] == [652, 551, 550]
    for part in signs[:3]:
        assert part.pixels.shape[1:] == (96, 96, 3)
        assert np.bincount(part.labels, minlength=10).min() >= 54
        assert 90 < part.pixels.mean() < 180
    assert signs.name == "signs"
