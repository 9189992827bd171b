"""Backgrounds to train with: drawn, of a folder, of CIFAR-10."""

import cv2
import numpy as np
import pytest

from device.errors import DataError
from export.data import backgrounds
from export.data.backgrounds import read_backgrounds, with_others
from export.data.drawn import collages, drawn
from export.data.images import Images


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(backgrounds, "COUNT", 10)


def write(folder, count):
    generator = np.random.default_rng(0)
    for number in range(count):
        file = folder / ("desk" if number % 2 else "shelf") / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(file), generator.integers(0, 256, (40, 60, 3), np.uint8))


def test_drawn_ones_are_different_and_the_same_again():
    found = drawn(8, (48, 32), seed=3)
    assert found.shape == (8, 48, 32, 3)
    assert found.dtype == np.uint8
    assert (found == drawn(8, (48, 32), seed=3)).all()
    assert len(np.unique(found.reshape(8, -1), axis=0)) == 8
    assert (found.std(axis=(1, 2, 3)) > 3).all()


def test_collages_are_of_photographs_of_any_size():
    photographs = [np.full((h, w, 3), grey, np.uint8) for h, w, grey in ((8, 8, 200), (500, 90, 60))]
    found = collages(photographs, 6, (48, 48))
    assert found.shape == (6, 48, 48, 3)
    assert (found == collages(photographs, 6, (48, 48))).all()
    assert len({each.tobytes() for each in found}) == 6


def test_drawn_ones_alone():
    found = read_backgrounds("drawn", (32, 32))
    assert found.train.shape == (8, 48, 48, 3)
    assert found.calibration.shape == (2, 48, 48, 3)


def test_parts_of_the_photographs_of_a_folder_and_as_many_drawn_ones(tmp_path, capsys):
    write(tmp_path, 10)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture either")
    found = read_backgrounds(str(tmp_path), (32, 32))
    assert found.train.shape == (8 + 8, 48, 48, 3)
    assert found.calibration.shape == (2 + 2, 48, 48, 3)
    assert "could not read 1 of 11 backgrounds" in capsys.readouterr().err
    assert len({each.tobytes() for each in np.concatenate(found)}) == 20


def test_too_many_are_thinned_out(tmp_path, monkeypatch):
    write(tmp_path, 12)
    monkeypatch.setattr(backgrounds, "MOST", 6)
    seen = []

    def collages(photographs, *_):
        seen.extend(photographs)
        return np.zeros((1, 48, 48, 3), np.uint8)

    monkeypatch.setattr(backgrounds, "collages", collages)
    read_backgrounds(str(tmp_path), (32, 32))
    assert len(seen) == len({each.tobytes() for each in seen}) == 6  # none to train with is one to calibrate with


def test_a_folder_without_photographs_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="found no folder"):
        read_backgrounds(str(tmp_path / "absent"), (32, 32))
    write(tmp_path, 4)
    with pytest.raises(DataError, match="found 4 photographs that can be read .*expected 5 or more"):
        read_backgrounds(str(tmp_path), (32, 32))


def test_photographs_are_scored_as_taken_and_before_other_backgrounds():
    photo = np.full((32, 32, 3), 230, np.uint8)
    cv2.circle(photo, (16, 18), 8, (150, 100, 60), -1)
    images = Images(np.stack([photo] * 3), np.array([0, 1, 2]))
    both = with_others(images, np.zeros((2, 48, 48, 3), np.uint8))
    assert both.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert (both.pixels[:3] == images.pixels).all()
    assert (both.pixels[3:, 2, 2] == 0).all()
    assert np.abs(both.pixels[3:, 18, 16].astype(int) - (150, 100, 60)).max() < 3
