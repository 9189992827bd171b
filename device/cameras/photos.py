"""A virtual camera for machines without one: it moves over photographs, the user's own or those that scikit-image brings along."""

import importlib.util
import os
import time
from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from device.cameras.base import Camera, Frame, Pacer, file_options, options, rate_option, size_option, whole_option
from device.cameras.image_files import class_of, image_files
from device.cameras.movement import in_a_hand, on_tour
from device.errors import DataError, UsageError
from device.pictures.formats import NAMES
from device.pictures.read import read_picture
from device.system.console import warn
from device.system.options import decimal_number
from device.system.printable import printable

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "color.png")
MOST_SEEDS = 10**15
MOST_FRAMES = 10**6
MOST_MOVEMENT = 4.0
TOUR, HAND = "tour", "hand"
OPTIONS = {"size": "640x480", "seed": "0", "rate": "", "frames": "50", "move": "", "amount": "1"}


class _Photo(NamedTuple):
    pixels: np.ndarray
    label: Optional[int]


class PhotosCamera(Camera):
    """``photos:DIR?size=640x480&seed=0&rate=15&frames=50&move=hand&amount=1``: an endless, repeatable film of photographs.

    Those of the folder DIR and its sub-folders, in an order that the seed mixes, or without DIR those in scikit-image's wheel. Each
    is shown for ``frames`` frames. ``move=hand`` points at it like a camera in a hand, ``amount`` times as unsteady, and still
    with ``amount=0``; this is what a folder gets. ``move=tour`` pans and zooms over it; this is what scikit-image's photographs
    get. With ``rate`` frames a second as from a camera, without it as fast as they are read.

    A photograph that lies in a folder with the name of one of the bundle's classes is of that class. One that cannot be read is named
    and skipped.

    Raises:
        UsageError: an option that cannot work.
        DataError: no folder, no image in it, or without a folder no scikit-image.
    """

    def __init__(self, rest: str = "") -> None:
        super().__init__()
        self._folder, values = file_options(rest, OPTIONS) if rest.partition("?")[0] else options(rest, OPTIONS)
        self._size = size_option(values["size"])
        self._seed = whole_option("seed", values["seed"], 0, MOST_SEEDS)
        self._frames = whole_option("frames", values["frames"], 1, MOST_FRAMES)
        self._move = _move_option(values["move"] or (HAND if self._folder else TOUR))
        self._amount = _amount_option(values["amount"])
        self._pacer = Pacer(rate_option(values["rate"]))
        self._files = image_files(self._folder, "photos:DIR") if self._folder else _photographs()
        if self._folder:
            order = np.random.RandomState(self._seed % (1 << 32)).permutation(len(self._files))
            self._files = [self._files[each] for each in order]
        self._labels: Sequence[str] = ()
        self._place = self._step = self._index = (
            0  # of the photograph, of the frame in its time, and of the frame in all
        )
        self._photo: Optional[_Photo] = None

    def describe(self) -> str:
        of = " of " + printable(self._folder) if self._folder else ""
        return "a virtual camera over {} photographs{}".format(len(self._files), of)

    def check_classes(self, labels: Sequence[str]) -> None:
        self._labels = labels

    def read(self) -> Optional[Frame]:
        if not self._pacer.wait(self.stop_flag):
            return None
        if self._step == self._frames:
            self._place, self._step, self._photo = self._place + 1, 0, None
        photo = self._photo or self._next_photo()
        seed, part = self._seed * 7919 + self._place, self._step / self._frames
        if self._move == TOUR:
            pixels = on_tour(photo.pixels, self._size, seed, part)
        else:
            pixels = in_a_hand(photo.pixels, self._size, seed, part, self._amount)
        frame = Frame(self._index, pixels, photo.label, time.monotonic())
        self._step += 1
        self._index += 1
        return frame

    def _next_photo(self) -> _Photo:
        count = len(self._files)
        for _ in range(count):
            name = self._files[self._place % count]
            try:
                label = class_of(name, self._folder, self._labels) if self._folder else None
                self._photo = _Photo(read_picture(name), label)
                return self._photo
            except DataError as error:
                if self._place < count:
                    self.skipped += 1
                    warn("{}; it is skipped".format(str(error).rpartition("; ")[0]))
                self._place += 1
        raise DataError("could not read any of the {} image files in {}; expected whole {} files; copy them again".format(
            count, self._folder or "scikit-image", NAMES))  # fmt: skip


def _move_option(text: str) -> str:
    if text not in (HAND, TOUR):
        raise UsageError("found move={}; expected {} or {}".format(text, HAND, TOUR))
    return text


def _amount_option(text: str) -> float:
    try:
        return decimal_number(text, 0, MOST_MOVEMENT)
    except ValueError:
        raise UsageError(
            "found amount={}; expected a number from 0 to {:g}, as in amount=0.5".format(text, MOST_MOVEMENT)
        ) from None


def _photographs() -> List[str]:
    """The files of scikit-image's photographs, found without importing the package."""
    spec = importlib.util.find_spec("skimage")
    folders = [os.path.join(place, "data") for place in (spec.submodule_search_locations or [])] if spec else []
    files = [
        name for name in (os.path.join(folder, photo) for folder in folders for photo in PHOTOS) if os.path.isfile(name)
    ]
    if not files:
        raise DataError("found no photographs for the source photos:; expected the package scikit-image; install it with: "
                        "pip install scikit-image, or name a folder of photographs with --source photos:DIR")  # fmt: skip
    return files
