"""A virtual camera for machines without one: it pans and zooms over photographs that scikit-image brings along."""

import importlib.util
import math
import os
import time
from typing import List, Optional

import cv2
import numpy as np

from device.cameras.base import Camera, Frame, Pacer, options, rate_option, size_option, whole_option
from device.errors import DataError
from device.pictures.read import read_picture

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "color.png")
FRAMES_A_PHOTO = 50
MOST_SEEDS = 10**15


class PhotosCamera(Camera):
    """``photos:?size=640x480&seed=0&rate=15``: an endless, repeatable tour of the photographs in scikit-image's wheel.

    Every photograph is shown for 50 frames, on a smooth path of changing place and magnification. With ``rate`` frames a
    second as from a camera, without it as fast as they are read.

    Raises:
        DataError: scikit-image is not installed.
    """

    def __init__(self, rest: str = "") -> None:
        super().__init__()
        _, values = options(rest, {"size": "640x480", "seed": "0", "rate": ""})
        self._width, self._height = size_option(values["size"])
        self._seed = whole_option("seed", values["seed"], 0, MOST_SEEDS)
        self._pacer = Pacer(rate_option(values["rate"]))
        self._photos = _photographs()
        self._next = 0

    def describe(self) -> str:
        return "a virtual camera over {} photographs".format(len(self._photos))

    def read(self) -> Optional[Frame]:
        if not self._pacer.wait(self.stop_event):
            return None
        index = self._next
        self._next += 1
        tour, step = divmod(index, FRAMES_A_PHOTO)
        photo = self._photos[tour % len(self._photos)]
        phases = np.random.RandomState((self._seed * 7919 + tour) % (1 << 32)).uniform(0, 2 * math.pi, 3)
        x, y, zoom = (0.5 + 0.5 * math.sin(phase + 2 * math.pi * step / FRAMES_A_PHOTO) for phase in phases)
        height, width = photo.shape[:2]
        # the largest window of the frame's proportions, shrunk by 1 to 2.5
        scale = min(width / self._width, height / self._height) / (1 + 1.5 * zoom)
        window_width, window_height = max(1, int(self._width * scale)), max(1, int(self._height * scale))
        left, top = int(x * (width - window_width)), int(y * (height - window_height))
        window = photo[top : top + window_height, left : left + window_width]
        pixels = cv2.resize(window, (self._width, self._height), interpolation=cv2.INTER_LINEAR)
        return Frame(index, pixels, None, time.monotonic())


def _photographs() -> List[np.ndarray]:
    """RGB photographs, uint8 (h, w, 3), found without importing the package."""
    spec = importlib.util.find_spec("skimage")
    folders = [os.path.join(place, "data") for place in (spec.submodule_search_locations or [])] if spec else []
    files = [os.path.join(folder, name) for folder in folders for name in PHOTOS]
    photos = [read_picture(name) for name in files if os.path.isfile(name)]
    if not photos:
        raise DataError("found no photographs for the source photos:; expected the package scikit-image; install it with: "
                        "pip install scikit-image")  # fmt: skip
    return photos
