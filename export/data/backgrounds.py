"""What may lie behind the things that a camera is shown, for training: drawn, or put together from the photographs of a folder or the
images of CIFAR-10."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from device.errors import DataError
from device.pictures.fit import CROP, STRETCH, fit_picture
from device.pictures.formats import SUFFIXES
from device.pictures.read import decode_unwatched
from device.system.console import warn
from export.data.cifar10 import find_layout, read_cifar10
from export.data.cutout import pasted
from export.data.decoding import Unreadable, read_all
from export.data.drawn import collages, drawn
from export.data.images import Images
from export.data.listing import named
from export.data.photograph_cache import file_facts

DRAWN = "drawn"
SHARE = 0.5
"""Of the photographs of a batch, that are shown before them."""
COUNT = 1500
"""Drawn backgrounds, and ones that are put together from photographs."""
MOST, MOST_FROM_CIFAR10 = 600, 3000
"""Photographs of a folder, or images of CIFAR-10, that are used at most."""
SIDE = 5
"""Shorter side of a photograph that is kept, at most, as a multiple of that of the network's input."""
LEAST = 5
FIFTH = 5
"""Every fifth one is for calibration."""
LARGER = 1.5
"""Side of a background, as a multiple of that of the network's input: each time another part of it is behind."""


class Backgrounds(NamedTuple):
    """Backgrounds to train with, and others to calibrate with: uint8 (n, h, w, 3) each, LARGER than the network's input."""

    train: np.ndarray
    calibration: np.ndarray

    def sha256(self) -> str:
        digest = hashlib.sha256(np.ascontiguousarray(self.train).data)
        digest.update(np.ascontiguousarray(self.calibration).data)
        return digest.hexdigest()


def read_backgrounds(place: str, size: tuple[int, int]) -> Backgrounds:
    """Backgrounds from parts of the photographs of a folder, and as many drawn ones.

    Args:
        place: a folder of photographs, of any names and in any folders within; or that of CIFAR-10, of which images to train are
            used; or "drawn" for drawn ones alone.
        size: (height, width) in pixels of the network's input.

    Raises:
        DataError: there is no such folder, or it holds too few photographs that can be read.
    """
    larger = round(size[0] * LARGER), round(size[1] * LARGER)
    made = drawn(COUNT, larger)
    kinds = [made[np.arange(COUNT) % FIFTH != 0], made[::FIFTH]]
    if place != DRAWN or Path(place).is_dir():
        photographs = _found(Path(place), size)
        calibrates = photographs[::FIFTH]
        trains = [each for number, each in enumerate(photographs) if number % FIFTH]
        for kind, (some, seed) in enumerate(((trains, 0), (calibrates, 1))):
            kinds[kind] = np.concatenate([kinds[kind], collages(some, len(kinds[kind]), larger, seed)])
    return Backgrounds(*kinds)


def backgrounds_hash(place: str) -> str:
    """A hash that is the same as long as ``read_backgrounds`` gives the same, of names, sizes and times of change of the files.

    Raises:
        DataError: as ``read_backgrounds``, or a file went away.
    """
    folder = Path(place)
    if place == DRAWN and not folder.is_dir():
        return f"{COUNT} drawn"
    _check_folder(folder)
    try:
        files = sorted(each for each in folder.rglob("*") if each.is_file())
        facts = [(str(each.relative_to(folder)), *file_facts(each)) for each in files]
    except OSError as error:
        raise DataError(
            f"could not read {error.filename} ({error.strerror}); expected a background; try again"
        ) from error
    return hashlib.sha256(json.dumps([COUNT, facts]).encode()).hexdigest()


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(
            f"found no folder {folder}; expected photographs of what may lie behind, or {DRAWN}; name another with --backgrounds"
        )


def _found(folder: Path, size: tuple[int, int]) -> list[np.ndarray]:
    """The photographs of a folder, uint8 (h, w, 3) each, shrunk to SIDE times ``size``."""
    _check_folder(folder)
    layout = find_layout(folder)
    if layout:
        return list(read_cifar10(layout, (32, 32), CROP).train.pixels[:MOST_FROM_CIFAR10])
    files = sorted(
        str(each.relative_to(folder))
        for each in folder.rglob("*")
        if each.name.lower().endswith(SUFFIXES) and each.is_file()
    )
    if len(files) > MOST:
        files = [files[each] for each in np.linspace(0, len(files) - 1, MOST).astype(int)]

    def shrunk(content: bytes) -> np.ndarray:
        photo = decode_unwatched(content)
        height, width = photo.shape[:2]
        scale = min(1.0, SIDE * max(size[0] / height, size[1] / width))
        return fit_picture(photo, (max(1, round(height * scale)), max(1, round(width * scale))), STRETCH)

    read = list(read_all(folder, files, shrunk, "reading backgrounds"))
    bad = [file for file, each in zip(files, read, strict=True) if isinstance(each, Unreadable)]
    photographs = [each for each in read if not isinstance(each, Unreadable)]
    if len(photographs) < LEAST:
        raise DataError(
            f"found {len(photographs)} photographs that can be read in {folder}; expected {LEAST} or more backgrounds; name another "
            "folder with --backgrounds"
        )
    if bad:
        warn(f"could not read {len(bad)} of {len(files)} backgrounds in {folder} ({named(bad)}); they are left out")
    return photographs


def with_others(images: Images, backgrounds: np.ndarray) -> Images:
    """Photographs as they were taken, and once more each before another background.

    Args:
        backgrounds: uint8 (n, h, w, 3), the photographs' size or larger.
    """
    size = images.pixels.shape[1:3]
    order = np.random.default_rng(0).permutation(len(backgrounds))[: len(images.labels)]
    behind = [fit_picture(backgrounds[each], size, CROP) for each in order]
    return Images(
        np.concatenate([images.pixels, pasted(images.pixels, behind)]), np.concatenate([images.labels, images.labels])
    )
