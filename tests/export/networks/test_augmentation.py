"""How training images are changed at random."""

import numpy as np
import pytest
import torch

from export.networks.augmentation import photographs, quantise_some, recoloured, shifts


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=20, size=32):
    """White but for a dark square in the upper left quarter."""
    pixels = np.full((count, size, size, 3), 220, np.uint8)
    pixels[:, size // 8 : size // 2, size // 8 : size // 2] = 20
    return pixels


def test_shifts_move_and_mirror_but_keep_pixels():
    pixels = np.random.default_rng(0).integers(128, 256, (50, 16, 16, 3), np.uint8)
    out = shifts(pixels, seeded())
    assert out.shape == (50, 3, 16, 16)
    assert not torch.equal(out[:, 0], torch.from_numpy(pixels[..., 0]) / 255)
    assert out[:, :, 4:12, 4:12].min() >= 0.5  # a crop of at most 4 pixels leaves the middle filled


@pytest.mark.parametrize("augment", [shifts, photographs])
def test_the_same_seed_gives_the_same_images(augment):
    assert torch.equal(augment(pictures(), seeded(1)), augment(pictures(), seeded(1)))
    assert not torch.equal(augment(pictures(), seeded(1)), augment(pictures(), seeded(2)))


def test_photographs_differ_from_one_another_and_stay_images():
    out = photographs(pictures(), seeded())
    assert out.shape == (20, 3, 32, 32)
    assert out.dtype == torch.float32
    assert 0 <= out.min() < out.max() <= 1
    assert len({each.sum().item() for each in out}) == 20


def test_photographs_are_mirrored_only_where_that_is_allowed():
    def dark_on_the_left(flips):
        out = photographs(pictures(), seeded(), flips).mean(1)
        return (out[:, :16, :16].mean((1, 2)) < out[:, :16, 16:].mean((1, 2))).float().mean().item()

    assert dark_on_the_left(flips=False) == 1
    assert 0.2 < dark_on_the_left(flips=True) < 0.8


def test_light_and_colour_keep_the_shapes_in_a_picture():
    images = torch.rand(30, 3, 8, 8, generator=seeded(3)) * 0.4 + 0.3
    out = recoloured(images, seeded())
    assert not torch.allclose(out, images, atol=0.05)
    before, after = (each.mean(1).flatten(1) for each in (images, out))
    assert all(torch.corrcoef(torch.stack(pair))[0, 1] > 0.9 for pair in zip(before, after, strict=True))


def test_a_share_of_the_batch_is_quantised():
    images = torch.rand(8, 3, 16, 16)
    out = quantise_some(images, 0.5, seeded())
    assert not (out[:4] == images[:4]).flatten(1).all(1).any()
    torch.testing.assert_close(out[:4] * 255, (out[:4] * 255).round())  # what a device shows its network
    assert torch.equal(out[4:], images[4:])
    assert torch.equal(quantise_some(images, 0.0, torch.Generator()), images)
