"""Augmentation: changes of a training image that leave its class as it is."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from export.defences.quantiser import BlockQuantiser
from export.networks.weights import to_tensor

CROP_PADDING = 4
QUANTISED_STEPS = (10, 60)
SMALLEST_CROP = 0.7
"""Side of the smallest crop of a photograph, as a share of the side of the photograph."""
BEYOND = 0.05
"""A crop may reach over the edge of a photograph by this share of its side."""
STRETCH, TURN_DEGREES = 0.2, 15
"""Largest natural logarithm of the ratio of width to height of a crop, and largest angle of it."""
LIGHT, CONTRAST, TINT = 0.3, 0.3, 0.1
"""Largest natural logarithm of the factor of all pixels, of their differences from the mean, and of each colour channel."""
MOST_COLOUR = 1.4
"""Largest factor of the differences from grey; the smallest is 0, a grey picture."""


class Turned(NamedTuple):
    """How photographs of a batch are turned into training images, float64 (n,) each.

    width, height: of the crop, as shares of those of the photograph. x, y: of its middle. angle: in radians. mirrored: -1 or 1.
    """

    width: np.ndarray
    height: np.ndarray
    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    mirrored: np.ndarray


def shifts(pixels: np.ndarray, generator: torch.Generator) -> Tensor:
    """Small images, flipped at random and cropped at random after padding by 4 pixels.

    Args:
        pixels: uint8 (n, h, w, 3).

    Returns:
        float32 (n, 3, h, w) in [0, 1].
    """
    images = to_tensor(pixels)
    n, _, height, width = images.shape
    flip = torch.rand(n, generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    padded = nn.functional.pad(images, (CROP_PADDING,) * 4)
    top, left = (torch.randint(0, 2 * CROP_PADDING + 1, (n,), generator=generator) for _ in range(2))
    rows = (top[:, None] + torch.arange(height))[:, None, :, None]
    columns = (left[:, None] + torch.arange(width))[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], torch.arange(3)[None, :, None, None], rows, columns]


def photographs(pixels: np.ndarray, generator: torch.Generator, flips: bool = True) -> Tensor:
    """Photographs as another picture might show the same: another part of the scene at another distance and angle, in other
    light and other colours.

    Args:
        pixels: uint8 (n, h, w, 3).
        flips: whether half of them are mirrored. Letters, road signs and screws have a handedness.

    Returns:
        float32 (n, 3, h, w) in [0, 1].
    """
    return recoloured(to_tensor(_warped(pixels, _drawn(len(pixels), generator, flips))), generator)


def _drawn(n: int, generator: torch.Generator, flips: bool) -> Turned:
    side, stretch, x, y, turn, mirror = torch.rand(6, n, generator=generator, dtype=torch.float64).numpy()
    side, stretch = 1 - (1 - SMALLEST_CROP) * side, np.exp((stretch - 0.5) * STRETCH)
    width, height = side * stretch, side / stretch
    return Turned(
        width,
        height,
        0.5 + (x - 0.5) * np.maximum(1 - width + 2 * BEYOND, 0),
        0.5 + (y - 0.5) * np.maximum(1 - height + 2 * BEYOND, 0),
        np.radians((2 * turn - 1) * TURN_DEGREES),
        np.where(flips & (mirror < 0.5), -1, 1),
    )


def _warped(pixels: np.ndarray, how: Turned) -> np.ndarray:
    """One bilinear interpolation a photograph, which takes about 0.1 ms at 96 pixels; the edge is mirrored beyond it."""
    height, width = pixels.shape[1:3]
    middle = np.array([width - 1, height - 1]) / 2
    out = np.empty_like(pixels)
    for index, (w, h, x, y, angle, mirrored) in enumerate(zip(*how, strict=True)):
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array([[mirrored * w * cos, -h * sin], [mirrored * w * sin, h * cos]])
        shift = np.array([x * width, y * height]) - 0.5 - matrix @ middle
        cv2.warpAffine(
            pixels[index], np.column_stack([matrix, shift]), (width, height), dst=out[index],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101,
        )  # fmt: skip
    return out


def recoloured(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images in other light, float32 (n, 3, h, w) in [0, 1]: brighter or darker, with more or less contrast, a tint, and more or
    less colour."""
    n = len(images)
    light, contrast, colour = torch.rand(3, n, 1, 1, 1, generator=generator)
    tint = torch.rand(n, 3, 1, 1, generator=generator)
    images = images * ((2 * light - 1) * LIGHT + (2 * tint - 1) * TINT).exp()
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * ((2 * contrast - 1) * CONTRAST).exp() + mean
    grey = images.mean(1, keepdim=True)
    coloured: Tensor = grey + (images - grey) * (colour * MOST_COLOUR)
    return coloured.clamp_(0, 1)


def quantise_some(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Apply DefQ to the first ``share`` of a shuffled batch, with a flat table whose step is drawn from QUANTISED_STEPS.

    Args:
        images: float32 (n, 3, h, w) in [0, 1].
        share: 0 to 1.
    """
    count = round(share * len(images))
    low, high = QUANTISED_STEPS
    step = torch.randint(low, high + 1, (), generator=generator).item()
    if not count:
        return images
    return torch.cat([BlockQuantiser(np.full((8, 8), step))(images[:count]), images[count:]])
