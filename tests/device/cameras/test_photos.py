"""The virtual camera: over scikit-image's photographs, and over a folder of the user's own."""

import os
import time

import cv2
import numpy as np
import pytest

from device.cameras import photos
from device.cameras.movement import in_a_hand
from device.cameras.open import open_camera
from device.errors import DataError

LABELS = ["cup", "bowl"]


def write_picture(path, seed=0, height=60, width=80):
    os.makedirs(os.path.dirname(str(path)), exist_ok=True)
    coarse = np.random.RandomState(seed).randint(0, 256, (6, 8, 3)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
    return str(path)


def pixels_of(camera, count):
    return [camera.read().pixels for _ in range(count)]


@pytest.fixture
def brought_along(monkeypatch, tmp_path):
    files = [write_picture(tmp_path / "a.png", 1, 300, 400), write_picture(tmp_path / "b.png", 2, 500, 300)]
    monkeypatch.setattr(photos, "_photographs", lambda: files)


@pytest.fixture
def folder(tmp_path):
    """Two cups, a bowl, and two photographs of no class of the bundle."""
    for number, name in enumerate(("cup/1.png", "test/cup/monday/2.png", "bowl/1.png", "box/1.png", "loose.png")):
        write_picture(tmp_path / "own" / name, number)
    return tmp_path / "own"


def test_photos_are_a_repeatable_tour(brought_along):
    first, again = open_camera("photos:?size=64x48"), open_camera("photos:?size=64x48")
    tour = pixels_of(first, 120)
    assert tour[0].shape == (48, 64, 3)
    assert all((again.read().pixels == frame).all() for frame in tour)
    assert any((tour[0] != frame).any() for frame in tour[1:])
    assert (open_camera("photos:?size=64x48&seed=1").read().pixels != tour[0]).any()


def test_photos_at_the_rate_of_a_camera(brought_along):
    camera = open_camera("photos:?size=64x48&rate=50")
    started_s = time.monotonic()
    pixels_of(camera, 4)
    assert time.monotonic() - started_s >= 0.06


def test_photos_without_the_package(monkeypatch):
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install scikit-image, or name a folder"):
        open_camera("photos:")


def test_a_folder_is_filmed_by_a_hand_that_knows_the_classes(folder):
    camera = open_camera("photos:{}?size=64x48&frames=3".format(folder))
    camera.check_classes(LABELS)
    frames = [camera.read() for _ in range(15)]
    assert [frame.index for frame in frames] == list(range(15))
    assert [frame.label for frame in frames[::3]] == [frame.label for frame in frames[1::3]]
    assert sorted(str(frame.label) for frame in frames[::3]) == ["0", "0", "1", "None", "None"]
    assert all((frames[0].pixels != frame.pixels).any() for frame in frames[1:3])
    assert str(folder) in camera.describe()
    again = open_camera("photos:{}?size=64x48&frames=3".format(folder))
    assert all((pixels == frame.pixels).all() for pixels, frame in zip(pixels_of(again, 15), frames))
    other = open_camera("photos:{}?size=64x48&frames=3&seed=1".format(folder))
    assert any((pixels != frame.pixels).any() for pixels, frame in zip(pixels_of(other, 15), frames))


def test_it_goes_round_and_round_with_new_movements(folder):
    camera = open_camera("photos:{}?size=64x48&frames=1".format(folder))
    once, twice = pixels_of(camera, 5), pixels_of(camera, 5)
    assert all((a != b).any() for a, b in zip(once, twice))


def test_no_movement_shows_the_photograph_as_it_is(folder):
    camera = open_camera("photos:{}?size=80x60&amount=0&frames=2".format(folder / "cup"))
    first, second = pixels_of(camera, 2)
    assert (first == second).all()
    photo = cv2.cvtColor(cv2.imread(str(folder / "cup" / "1.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(first, photo)


@pytest.mark.parametrize("shape", [(60, 80), (80, 60), (600, 800), (60, 3)])
def test_the_shorter_side_of_a_photograph_fills_that_of_the_frame(shape):
    rows = np.linspace(0, 255, shape[0]).astype(np.uint8)
    photo = np.repeat(np.repeat(rows[:, None], shape[1], 1)[..., None], 3, 2)
    frame = in_a_hand(photo, (64, 48), 0, 0.0, 0.0)
    assert frame.shape == (48, 64, 3)
    shown = (min(shape[0] / min(shape), 1) if shape[1] >= shape[0] else 1 / (shape[0] / shape[1])) * 255
    assert abs(int(frame[-1, 32, 0]) - int(frame[0, 32, 0]) - shown) < 12


@pytest.mark.parametrize("amount", [1.0, 4.0])
def test_a_hand_moves_more_with_a_larger_amount_and_never_leaves_the_frame_empty(amount):
    photo = np.full((60, 80, 3), 100, np.uint8)
    photo[20:40, 30:50] = 200
    for part in np.linspace(0, 1, 20):
        frame = in_a_hand(photo, (64, 48), 3, part, amount)
        assert frame.shape == (48, 64, 3)
        assert frame.min() >= 100 * (1 - 0.16 * amount)  # the edge goes on beyond the photograph


def test_a_photograph_that_cannot_be_read_is_named_once_and_skipped(folder, capsys):
    (folder / "cup" / "0.png").write_bytes(b"no picture")
    camera = open_camera("photos:{}?size=64x48&frames=1".format(folder))
    indices = [camera.read().index for _ in range(11)]
    assert indices == list(range(11))
    assert camera.skipped == 1
    assert capsys.readouterr().err.count("it is skipped") == 1


def test_folders_of_which_nothing_can_be_read(tmp_path):
    with pytest.raises(DataError, match="found no folder .*none.*photos:DIR"):
        open_camera("photos:{}/none".format(tmp_path))
    with pytest.raises(DataError, match="found no image in"):
        open_camera("photos:{}".format(tmp_path))
    (tmp_path / "1.png").write_bytes(b"no picture")
    camera = open_camera("photos:{}".format(tmp_path))
    with pytest.raises(DataError, match="could not read any of the 1 image files"):
        camera.read()


def test_a_folder_with_the_option_of_another_source(folder):
    assert open_camera("photos:{}?move=tour&size=64x48".format(folder)).read().pixels.shape == (48, 64, 3)
