"""Photographs before other backgrounds, as augmentation."""

import cv2
import numpy as np
import torch

from export.networks.pasting import Pasting, masks_of


def photographs(count=6, side=48):
    photo = np.full((side, side, 3), 230, np.uint8)
    cv2.circle(photo, (side // 2, side // 2), side // 4, (150, 100, 60), -1)
    return np.stack([photo] * count)


BLUE = np.full((2, 72, 72, 3), (0, 0, 255), np.uint8)


def pasted(share, seed=0, backgrounds=BLUE):
    pixels = photographs()
    return Pasting(pixels, backgrounds, share)(pixels, np.arange(len(pixels)), torch.Generator().manual_seed(seed))


def test_masks_are_whole_numbers_that_show_where_things_are():
    masks = masks_of(photographs(2))
    assert masks.shape == (2, 48, 48, 1)
    assert masks.dtype == np.uint8
    assert masks[:, 24, 24].min() > 250
    assert masks[:, 2, 2].max() < 5


def test_no_share_and_a_whole_share():
    assert (pasted(0.0) == photographs()).all()
    corners = pasted(1.0)[:, 1, 1]
    assert (corners == (0, 0, 255)).all()


def test_about_a_share_of_a_batch_is_pasted():
    pixels = photographs(200, 24)
    generator = torch.Generator().manual_seed(1)
    found = Pasting(pixels, BLUE, 0.3)(pixels, np.arange(200), generator)
    assert 40 < (found != pixels).any(axis=(1, 2, 3)).sum() < 80


def test_things_move_grow_and_are_lit_otherwise_and_the_same_seed_repeats_it():
    found = pasted(1.0)
    assert (found == pasted(1.0)).all()
    assert (found != pasted(1.0, seed=1)).any()
    reddish = found[..., 0].astype(int) > found[..., 2]
    areas = reddish.sum(axis=(1, 2))
    assert areas.max() > 1.2 * areas.min()
    whole = photographs()[..., 2].astype(int) < 200
    assert 0.2 < areas.mean() / whole[0].sum() < 1.5


def test_backgrounds_may_be_as_small_as_photographs_or_of_other_proportions():
    for shape in ((48, 48), (48, 90), (200, 60)):
        assert pasted(1.0, backgrounds=np.zeros((1, *shape, 3), np.uint8)).shape == (6, 48, 48, 3)
