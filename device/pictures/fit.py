"""How pictures and camera frames are brought to the size of a network: by crop, letterbox or stretch.

Training and the device call the same function, so that both see the same pixels. Crop takes the largest part from the
middle of a picture that has the network's proportions. Letterbox keeps the whole picture and fills the rest of the input
with GREY. Stretch changes the proportions of what the picture shows. All three then resize: by INTER_AREA where neither
side grows, else by INTER_LINEAR. Lengths are rounded to the nearest pixel in whole numbers, halves upwards, and of an odd
number of pixels to cut off or to fill, the larger half lies below or to the right.
"""

from typing import Tuple

import cv2
import numpy as np

CROP, LETTERBOX, STRETCH = "crop", "letterbox", "stretch"
FITS = (CROP, LETTERBOX, STRETCH)
FITS_TOLD = "crop, letterbox or stretch"
GREY = 127
"""What letterbox fills with, in every channel: the middle of 0..255, which networks with ImageNet weights see as zero."""


def fit_picture(pixels: np.ndarray, size: Tuple[int, int], fit: str) -> np.ndarray:
    """Bring a picture to a size.

    Args:
        pixels: uint8 (h, w, channels) or (h, w), 1 x 1 or larger.
        size: (height, width) in pixels.
        fit: one of FITS.

    Returns:
        uint8 (height, width, channels) or (height, width), contiguous; ``pixels`` itself where it has this size.

    Raises:
        ValueError: ``fit`` is none of FITS.
    """
    if fit not in FITS:
        raise ValueError("found the fit {!r}; expected {}".format(fit, FITS_TOLD))
    if pixels.shape[:2] == tuple(size):
        return pixels
    if fit == CROP:
        pixels = _middle(pixels, size)
    shape = tuple(size) + pixels.shape[2:]
    if fit != LETTERBOX:
        return _resized(pixels, size).reshape(shape)
    inner = _inside(pixels.shape[:2], size)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    filled = np.full(shape, GREY, np.uint8)
    filled[top : top + inner[0], left : left + inner[1]] = _resized(pixels, inner).reshape(inner + pixels.shape[2:])
    return filled


def _middle(pixels: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """The largest part from the middle of a picture that has the proportions of ``size``."""
    height, width = pixels.shape[:2]
    inner_height, inner_width = _inside(size, (height, width))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    return pixels[top : top + inner_height, left : left + inner_width]


def _inside(proportions: Tuple[int, int], bounds: Tuple[int, int]) -> Tuple[int, int]:
    """The largest (height, width) of the given proportions that lies within ``bounds``, at least one pixel each."""
    (height, width), (most_height, most_width) = proportions, bounds
    if height * most_width <= width * most_height:  # as wide as the bounds
        return max(1, (2 * height * most_width + width) // (2 * width)), most_width
    return most_height, max(1, (2 * width * most_height + height) // (2 * height))


def _resized(pixels: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Contiguous, of this size; a single channel may lose its axis."""
    height, width = size
    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    shrinks = pixels.shape[0] >= height and pixels.shape[1] >= width
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
