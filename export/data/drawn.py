"""Backgrounds that are drawn, or put together from parts of photographs: what might lie behind a thing that a camera sees.

A drawn one is a pile of shapes that cover one another (a dead leaves model, Lee, Mumford, Huang, IJCV 2001), from a few large ones to many
small ones, in colours of a palette of its own, each with shades, stripes, checks or noise of falling spectrum. Networks learn to see
from such pictures (Baradad et al., NeurIPS 2021). A collage is the same with parts of photographs on its shapes. Light that falls from
one side, blur and noise come last.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

SKIN = np.array([[224, 172, 140], [198, 134, 106], [141, 85, 60], [120, 90, 70]])
"""Colours that hands have too, and wood: without them a network looks for skin alone."""
NEAREST = 0.2
"""Smallest part of a photograph, as a share of its side."""


def drawn(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Drawn backgrounds, all different.

    Args:
        size: (height, width) in pixels.

    Returns:
        uint8 (count, height, width, 3), RGB.
    """
    generator = np.random.default_rng(seed)
    return np.stack([_one(size, generator) for _ in range(count)])


def _one(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    palette = generator.integers(0, 256, (6, 3))
    palette[:2] = palette[:2].mean(1, keepdims=True)  # two greys
    if generator.random() < 0.5:
        palette[2] = SKIN[generator.integers(len(SKIN))] + generator.integers(-20, 21, 3)
    return _piled(lambda part: _filled(part, palette, generator), size, 3, 120, generator)


def collages(photographs: Sequence[np.ndarray], count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Backgrounds from parts of photographs, near and far, all different.

    Args:
        photographs: uint8 (h, w, 3) each, RGB.
        size: (height, width) in pixels.

    Returns:
        uint8 (count, height, width, 3).
    """
    generator = np.random.default_rng(seed)

    def part(inner: tuple[int, int]) -> np.ndarray:
        photo = photographs[int(generator.integers(len(photographs)))]
        height, width = photo.shape[:2]
        largest = min(height / inner[0], width / inner[1])
        shrunk = min(max(1.0, largest * NEAREST), largest) if generator.random() < 0.5 else largest
        scale = np.exp(generator.uniform(np.log(shrunk), np.log(largest)))
        h, w = max(1, int(inner[0] * scale)), max(1, int(inner[1] * scale))
        top, left = generator.integers(height - h + 1), generator.integers(width - w + 1)
        way = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
        resized = cv2.resize(photo[top : top + h, left : left + w], inner[::-1], interpolation=way)
        return np.asarray(resized, np.float32)

    return np.stack([_piled(part, size, 1, 80, generator) for _ in range(count)])


def _piled(
    fill: Callable[[tuple[int, int]], np.ndarray],
    size: tuple[int, int],
    fewest: int,
    most: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """A surface that shapes cover.

    Args:
        fill: makes a surface, float32 (h, w, 3), of any size.
        fewest, most: numbers of shapes; the first may be less by one.
    """
    height, width = size
    scene = fill(size)
    shapes = int(np.exp(generator.uniform(np.log(fewest), np.log(most)))) - (fewest == 1)
    largest = 0.9 * min(size) / max(shapes, 1) ** 0.35
    for _ in range(shapes):
        mask = np.zeros(size, np.uint8)
        side = largest * generator.uniform(0.25, 1) ** 1.5 + 2
        _draw(mask, side, generator)
        x, y, w, h = cv2.boundingRect(mask)
        if w and h:
            part = np.s_[y : y + h, x : x + w]
            covered = mask[part][..., None] > 0
            scene[part] = np.where(covered, fill((h, w)), scene[part])
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    towards = generator.uniform(0, 2 * np.pi)
    light = 1 + generator.uniform(0, 0.5) * (np.cos(towards) * columns + np.sin(towards) * rows)
    scene = scene * (light * np.exp(generator.uniform(-0.4, 0.3)))[..., None]
    if (blur := generator.uniform(-1.0, 2.5)) > 0.3:
        scene = cv2.GaussianBlur(scene, (0, 0), blur)
    noise = generator.standard_normal(scene.shape) * generator.uniform(0, 6)
    finished: np.ndarray = np.clip(scene + noise, 0, 255).astype(np.uint8)
    return finished


def _draw(mask: np.ndarray, side: float, generator: np.random.Generator) -> None:
    """One shape of about this side, anywhere: an ellipse, a rectangle, a polygon, or a line."""
    height, width = mask.shape
    middle = generator.uniform(0, 1, 2) * (width, height)
    sides = side * np.exp(generator.uniform(-0.8, 0.8, 2))
    angle = generator.uniform(0, 180)
    box = ((float(middle[0]), float(middle[1])), (float(sides[0]), float(sides[1])), float(angle))
    kind = generator.integers(4)
    if kind == 0:
        cv2.ellipse(mask, box, 1, -1)
    elif kind == 1:
        cv2.fillPoly(mask, [cv2.boxPoints(box).astype(np.int32)], 1)
    elif kind == 2:
        angles = np.sort(generator.uniform(0, 2 * np.pi, generator.integers(3, 9)))
        radii = side * generator.uniform(0.4, 1, len(angles))
        corners = middle + np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]
        cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
    else:
        ends = middle + np.outer((-1, 1), (np.cos(angle), np.sin(angle))) * side * 2
        first, last = ends.astype(int).tolist()
        cv2.line(mask, first, last, 1, int(generator.integers(1, max(2, int(side / 3)) + 1)))


def _filled(size: tuple[int, int], palette: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One surface, float32 (h, w, 3)."""
    one, other = (palette[generator.integers(len(palette))] + generator.integers(-12, 13, 3) for _ in range(2))
    pattern = PATTERNS[generator.integers(len(PATTERNS))](size, generator)[..., None]
    mixed: np.ndarray = (one * (1 - pattern) + other * pattern).astype(np.float32)
    return mixed


def _even(size: tuple[int, int], _: np.random.Generator) -> np.ndarray:
    return np.zeros(size)


def _shade(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    height, width = size
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    shares: np.ndarray = generator.random() * rows + generator.random() * columns
    return shares / 2


def _stripes(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    angle, period = generator.uniform(0, np.pi), generator.uniform(3, 24)
    wave = np.sin((np.cos(angle) * columns + np.sin(angle) * rows) * (2 * np.pi / period))
    return np.asarray(wave > generator.uniform(-0.9, 0.9), float)


def _checks(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    side = generator.integers(2, 16)
    return np.asarray((rows // side + columns // side) % 2, float)


def _noise(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with the frequency, as in photographs."""
    height, width = size
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = np.fft.rfft2(generator.standard_normal(size))
    spectrum /= np.maximum(frequencies, 1 / max(size)) ** generator.uniform(0.6, 2)
    found = np.fft.irfft2(spectrum, s=size)
    found -= found.min()
    most = found.max()
    return np.asarray(found / most if most else found)


PATTERNS: tuple[Callable[[tuple[int, int], np.random.Generator], np.ndarray], ...] = (
    _even, _even, _shade, _stripes, _checks, _noise, _noise,
)  # fmt: skip
