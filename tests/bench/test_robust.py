"""python -m bench.robust: what is cut out, what is pasted, and what is filmed."""

import cv2
import numpy as np
import pytest

from bench import robust
from export.data.cutout import mask_of, pasted
from export.data.images import Images
from tests import tiny
from tests.tiny import DATA

CLASSES = tuple(tiny.CLASSES)


def disc():
    """A brown disc before a light grey that darkens to one side, as under a lamp."""
    light = np.linspace(230, 170, 64, dtype=np.float32)
    photo = np.repeat(np.repeat(light[None, :, None], 64, 0), 3, 2).astype(np.uint8)
    return cv2.circle(photo, (32, 36), 16, (150, 100, 60), -1)


def test_what_a_photograph_shows_is_cut_out():
    mask = mask_of(disc())
    assert mask.shape == (64, 64, 1)
    rows, columns = np.mgrid[:64, :64]
    inside = (columns - 32) ** 2 + (rows - 36) ** 2 < 14**2
    outside = (columns - 32) ** 2 + (rows - 36) ** 2 > 19**2
    assert mask[inside].min() > 0.9
    assert mask[outside].max() < 0.1


def test_it_is_pasted_in_front_of_each_background_in_turn():
    black, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    results = pasted(np.stack([disc()] * 3), [black, white])
    assert results[:, 2, 2].tolist() == [[0] * 3, [255] * 3, [0] * 3]
    assert np.abs(results[:, 36, 32].astype(int) - (150, 100, 60)).max() < 3


@pytest.mark.parametrize("grey", [0, 128])
def test_a_photograph_of_nothing_is_all_background(grey):
    assert mask_of(np.full((32, 32, 3), grey, np.uint8)).max() == 0


def test_films_are_decided_with_every_mode_that_the_bundle_knows(tmp_path):
    images = Images(tiny.frames(4), np.array([0, 1, 2, 0]))
    robust.write_photographs(images, CLASSES, tmp_path / "shown")
    assert sorted(each.parent.name for each in (tmp_path / "shown").rglob("*.png")) == [
        "circle",
        "circle",
        "square",
        "star",
    ]
    cells = robust.film(DATA / "whole_bundle", tmp_path / "shown", "as taken", 1.0, 8)
    assert [each.defq for each in cells] == ["off", "on"]
    assert all(each.frames == sum(each.exits) == 8 for each in cells)
    assert all(0 <= each.accuracy <= 1 for each in cells)
    assert "| as taken | 1 | on | 8 |" in robust.report(cells)


def test_a_hand_is_put_before_another_background():
    images = Images(np.stack([disc()] * 2), np.array([0, 1]))
    assert robust.in_front_of("as taken", images) is images
    grey = robust.in_front_of("plain grey", images).pixels
    assert (grey[:, 2, 2] == robust.GREY).all()
    photographs = robust.in_front_of("photographs", images).pixels
    assert photographs.std() > grey.std()
