"""Decoded photographs are kept, and what is wrong with the place costs time only."""

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import DataError
from device.pictures.read import decode_unwatched
from export.data import datasets, folder, photograph_cache
from tests.export.data.photographs import write

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFQ_PHOTOGRAPHS", str(tmp_path / "kept"))
    monkeypatch.setattr(photograph_cache, "LEAST_SOURCE_BYTES", 0)
    return tmp_path / "kept"


@pytest.fixture
def photographs(tmp_path):
    for name in ("cup", "bowl"):
        write(tmp_path / "photographs" / name, 15)
    return tmp_path / "photographs"


@pytest.fixture
def decoded(monkeypatch):
    """Counts the photographs that are decoded."""
    counted = []

    def decode(content):
        counted.append(1)
        return decode_unwatched(content)

    monkeypatch.setattr(folder, "decode_unwatched", decode)
    return counted


def same(data, other):
    for part, again in zip(data[:3], other[:3], strict=True):
        np.testing.assert_array_equal(part.pixels, again.pixels)
        np.testing.assert_array_equal(part.labels, again.labels)
        assert part.files == again.files
    assert data.sha256() == other.sha256()
    assert data[3:] == other[3:]


def test_photographs_are_decoded_once(place, photographs, decoded, capsys):
    shutil.copy(photographs / "cup" / "000.png", photographs / "bowl" / "same.png")
    os.rename(photographs / "cup" / "001.png", os.fsencode(photographs / "cup") + b"/caf\xe9.png")
    first = datasets.load(photographs, (16, 16))
    assert len(decoded) == 31
    warned = capsys.readouterr().err
    assert "in two classes" in warned
    again = datasets.load(photographs, (16, 16))
    assert len(decoded) == 31
    same(first, again)
    assert capsys.readouterr().err == warned
    again.train.pixels[0] = 0  # does not change what is kept
    same(first, datasets.load(photographs, (16, 16)))


def test_whatever_changes_the_pixels_is_decoded_again(place, photographs, decoded):
    cv2.imwrite(str(photographs / "cup" / "wide.png"), np.zeros((20, 40, 3), np.uint8))
    before = 0
    for size, fit, group in (((16, 16), "crop", ""), ((16, 16), "letterbox", ""), ((8, 16), "crop", ""), ((16, 16), "crop", r"\w+\.png")):  # fmt: skip
        datasets.load(photographs, size, fit, group)
        assert len(decoded) == before + 31
        before = len(decoded)
    write(photographs / "cup", 1)  # another content under the same name
    datasets.load(photographs, (16, 16), "crop")
    assert len(decoded) == before + 31


@pytest.mark.parametrize("damage", ["byte", "cut", "about", "absent", "type"])
def test_a_damaged_cache_is_made_again(place, photographs, decoded, damage, capsys):
    first = datasets.load(photographs, (16, 16))
    (kept,) = place.iterdir()
    pixels = kept / "train.npy"
    if damage == "byte":
        content = bytearray(pixels.read_bytes())
        content[-5] ^= 1
        pixels.write_bytes(content)
    elif damage == "cut":
        pixels.write_bytes(pixels.read_bytes()[:-5])
    elif damage == "about":
        (kept / "about.json").write_text("[1]")
    elif damage == "absent":
        pixels.unlink()
    else:
        np.save(pixels, np.zeros(3))
    same(first, datasets.load(photographs, (16, 16)))
    assert len(decoded) == 60
    same(first, datasets.load(photographs, (16, 16)))
    assert len(decoded) == 60
    assert not capsys.readouterr().err


def test_a_small_set_is_not_kept(place, photographs, monkeypatch):
    monkeypatch.setattr(photograph_cache, "LEAST_SOURCE_BYTES", 1 << 20)
    datasets.load(photographs, (16, 16))
    assert not place.exists()


def test_a_full_disk_is_told_once_and_stops_nothing(place, photographs, monkeypatch, capsys):
    first = datasets.load(photographs, (16, 16))
    shutil.rmtree(place)

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    same(first, datasets.load(photographs, (16, 16)))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "could not keep decoded photographs in" in said
    assert "No space left on device" in said
    assert list(place.iterdir()) == []
    monkeypatch.setattr(photograph_cache, "FREE_BYTES", 1 << 60)
    same(first, datasets.load(photographs, (16, 16)))
    assert "has no room for" in capsys.readouterr().err


def test_without_a_home_or_a_folder_nothing_is_kept(place, photographs, monkeypatch, capsys):
    place.write_text("a file")
    datasets.load(photographs, (16, 16))
    assert "could not keep decoded photographs in" in capsys.readouterr().err
    monkeypatch.delenv("DEFQ_PHOTOGRAPHS")
    monkeypatch.setattr("export.data.download.user_cache", lambda: None)
    datasets.load(photographs, (16, 16))
    assert not capsys.readouterr().err


def test_the_sets_that_were_used_last_stay(place, photographs, monkeypatch):
    datasets.load(photographs, (16, 16))
    (one,) = place.iterdir()
    size = sum(file.stat().st_size for file in one.iterdir())
    monkeypatch.setattr(photograph_cache, "MOST_BYTES", 5 * size // 2)
    datasets.load(photographs, (16, 16), "crop")
    (two,) = set(place.iterdir()) - {one}
    old, young = place / ".draft.old", place / ".draft.young"
    for draft in (old, young):
        draft.mkdir()
    now = time.time()
    os.utime(old, (now - 2 * photograph_cache.LEFT_OVER_S,) * 2)
    os.utime(one, (now - 50,) * 2)
    os.utime(two, (now - 90,) * 2)
    datasets.load(photographs, (16, 16))  # uses the first
    os.utime(two, (now - 90,) * 2)
    datasets.load(photographs, (16, 16), "letterbox")
    assert one.is_dir()
    assert not two.exists()
    assert young.is_dir()
    assert not old.exists()


def test_two_processes_at_once(place, photographs):
    code = (
        "from export.data import datasets, photograph_cache as c\nc.LEAST_SOURCE_BYTES = 0\n"
        f"print(datasets.load({str(photographs)!r}, (16, 16)).sha256())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]  # fmt: skip
    said = [each.communicate(timeout=60) for each in running]
    assert {out for out, _ in said} == {datasets.load(photographs, (16, 16)).sha256() + "\n"}
    assert not any(error for _, error in said)
    assert len(list(place.iterdir())) == 1


def test_two_threads_that_save_the_same_set(place, photographs):
    threads = [threading.Thread(target=datasets.load, args=(photographs, (16, 16))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(list(place.iterdir())) == 1


def test_a_set_that_memory_does_not_hold_is_refused_before_it_is_read(photographs, monkeypatch, decoded, capsys):
    monkeypatch.setattr(folder, "available_bytes", lambda: 30_000)
    with pytest.raises(DataError, match=r"found 30 photographs in .*, which take 0.0 GB of memory at 32 x 32 pixels; expected at most"):  # fmt: skip
        datasets.load(photographs, (32, 32))
    assert not decoded
    monkeypatch.setattr(folder, "available_bytes", lambda: None)
    monkeypatch.setattr(folder, "TOLD_BYTES", 1000)
    datasets.load(photographs, (32, 32))
    assert "30 photographs take 0.0 GB of memory at 32 x 32 pixels" in capsys.readouterr().err
