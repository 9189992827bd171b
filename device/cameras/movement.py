"""How a virtual camera moves over a photograph: on a tour of it, or as a camera in a hand that points at what it shows."""

import math
from typing import Tuple

import cv2
import numpy as np

SWAY, TREMOR = 0.75, 0.25
"""Shares of a slow movement, once around in the time of a photograph, and of one that is TREMORS times as fast."""
TREMORS = 7
SHIFT = 0.10
"""Largest shift of the picture, of its shorter side."""
ZOOM = math.log(1.3)
"""Largest magnification, and its inverse the smallest one, as a logarithm."""
TILT_DEGREES = 10.0
LIGHT = 0.15
"""Largest change of the brightness, as a share of it."""


def on_tour(photo: np.ndarray, size: Tuple[int, int], seed: int, part: float) -> np.ndarray:
    """What a camera sees that pans and zooms over a photograph, and shows a window of it at a time.

    Args:
        photo: uint8 (h, w, 3).
        size: (width, height) of the frame.
        seed: 0 to 2^32 - 1: which path.
        part: of the path, from 0 to 1.

    Returns:
        uint8 (height, width, 3).
    """
    x, y, zoom = (0.5 + 0.5 * math.sin(phase + 2 * math.pi * part) for phase in _phases(seed, 3))
    height, width = photo.shape[:2]
    # the largest window of the frame's proportions, shrunk by 1 to 2.5
    scale = min(width / size[0], height / size[1]) / (1 + 1.5 * zoom)
    window_width, window_height = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    left, top = int(x * (width - window_width)), int(y * (height - window_height))
    window = photo[top : top + window_height, left : left + window_width]
    return cv2.resize(window, size, interpolation=cv2.INTER_LINEAR)


def in_a_hand(photo: np.ndarray, size: Tuple[int, int], seed: int, part: float, amount: float) -> np.ndarray:
    """What a camera in a hand sees that points at what a photograph shows.

    The shorter side of the photograph fills that of the frame, as if the camera had taken it. From there the picture is shifted,
    magnified, turned and lit a little otherwise, on a smooth path with a tremor. Beyond its edges the photograph goes on with the
    pixels of the edge.

    Args:
        photo: uint8 (h, w, 3).
        size: (width, height) of the frame.
        seed: 0 to 2^32 - 1: which path.
        part: of the path, from 0 to 1.
        amount: of movement. 0 holds the camera still. 1 moves it by up to SHIFT, ZOOM, TILT_DEGREES and LIGHT.

    Returns:
        uint8 (height, width, 3).
    """
    slow, fast = _phases(seed, 5), _phases(seed + 1, 5)
    right, down, zoom, tilt, light = (
        amount * (SWAY * math.sin(a + 2 * math.pi * part) + TREMOR * math.sin(b + 2 * math.pi * TREMORS * part))
        for a, b in zip(slow, fast)
    )
    photo = _no_larger(photo, math.ceil(min(size) * math.exp(ZOOM)))
    height, width = photo.shape[:2]
    side = min(size)
    scale = side / min(height, width) * math.exp(zoom * ZOOM)
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), tilt * TILT_DEGREES, scale)
    matrix[0, 2] += size[0] / 2 - width / 2 + right * SHIFT * side
    matrix[1, 2] += size[1] / 2 - height / 2 + down * SHIFT * side
    pixels = cv2.warpAffine(photo, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return pixels if not light else cv2.convertScaleAbs(pixels, alpha=max(0.0, 1 + light * LIGHT))


def _phases(seed: int, count: int) -> np.ndarray:
    return np.random.RandomState(seed % (1 << 32)).uniform(0, 2 * math.pi, count)


def _no_larger(photo: np.ndarray, side: int) -> np.ndarray:
    """A photograph whose shorter side has at most ``side`` pixels: shrunk by areas, which a warp does not do."""
    height, width = photo.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return photo
    shrunk = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(photo, shrunk, interpolation=cv2.INTER_AREA)
