"""Images with labels, and the three splits of a data set."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from device.pictures.fit import STRETCH

PHOTOGRAPHS, SIGNS = "images of a folder", "signs"


class Images(NamedTuple):
    """Images with their labels.

    pixels: uint8 (n, height, width, 3), RGB, 0..255. labels: int64 (n,). first_id: number of image 0 among those that its
    split was cut from. files: where each image of a folder lies in it. With these a table names the samples it was
    learned from.
    """

    pixels: np.ndarray
    labels: np.ndarray
    first_id: int = 0
    files: tuple[str, ...] = ()

    def take(self, count: int) -> "Images":
        """The first ``count`` images: a sample of all classes."""
        return self._replace(pixels=self.pixels[:count], labels=self.labels[:count], files=self.files[:count])

    def ids(self, chosen: np.ndarray) -> list[int | str]:
        """The names of the files of some images, int (n,), or their numbers where they have none."""
        return [self.files[each] if self.files else each + self.first_id for each in chosen.tolist()]


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What a model card says of the data set that a network was trained and calibrated on.

    Args:
        source: what it is, in words.
        sha256: of the images to train and to calibrate.
        train: number of images to train.
        order: how the images of a split follow one another, in words.
    """

    source: str
    sha256: str
    train: int
    order: str


class Dataset(NamedTuple):
    """Three splits and what is known of them.

    classes: their names, in the order of the labels. source: where the images lie. order: how the images of a split
    follow one another, and so what the first of them are a sample of. name: what kind of data this is. fit: how images
    were brought to their size (device/pictures/fit.py). group: the pattern whose groups stay in one split, "" for none.
    """

    train: Images
    calibration: Images
    test: Images
    classes: tuple[str, ...]
    source: str
    order: str = "in the order of its files"
    name: str = PHOTOGRAPHS
    fit: str = STRETCH
    group: str = ""

    @property
    def of_camera(self) -> bool:
        """Whether they are photographs as a camera takes them."""
        return self.name in (PHOTOGRAPHS, SIGNS)

    def test_title(self) -> str:
        """What figures and pictures call the images of the test split."""
        return "test images" if self.name == PHOTOGRAPHS else f"{self.name} test images"

    def sha256(self) -> str:
        """Of the images that networks, thresholds and tables are made from: those to train and to calibrate."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for part in (self.train, self.calibration):
            digest.update(str(part.pixels.shape).encode() + np.ascontiguousarray(part.labels).tobytes())
            digest.update(np.ascontiguousarray(part.pixels).data)
        return digest.hexdigest()

    def facts(self) -> DataFacts:
        """What a model card says of its data."""
        return DataFacts(self.name, self.sha256(), len(self.train.labels), self.order)
