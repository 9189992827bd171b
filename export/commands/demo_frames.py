"""Which frames defq demo shows, and how many."""

from dataclasses import dataclass

import numpy as np

from device.cameras.open import open_camera
from device.errors import DataError
from device.pictures.fit import fit_picture
from export.calibration.card import read_card
from export.calibration.cost import score
from export.commands.inputs import data_of
from export.data import datasets
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES
from export.data.classes import check_classes
from export.data.images import Dataset
from export.networks.model_files import ModelFiles
from export.networks.sdn import SDN

DOWNLOAD_LIMIT_S = 90
FRAMES, FEWEST, SIDE = 300, 100, 96
"""Of a network for images of up to SIDE x SIDE pixels FRAMES frames are attacked; above it fewer, as the time of an attack grows
with the pixels."""
RAD, PHOTO_RAD = 5, 10
"""A network that was trained on CIFAR-10 is unsure of photographs: at RAD 5 too few of them leave early for an attack to be seen."""
PHOTO_SOURCE = "photos:?size=480x480"  # square, as the networks' input
PHOTO_STEP = 3  # every third frame of the virtual camera: neighbours look alike


@dataclass(frozen=True, slots=True)
class DemoFrames:
    """The frames of a demo.

    Args:
        pixels: uint8 (n, height, width, 3), of the network's size.
        labels: int64 (n,): their classes, or where these are not known the answers of the undefended full network.
        source: what the frames are, in words.
        rad: relative accuracy drop, in percent, that suits them.
        measure: "accuracy", or where the classes are not known "agreement".
        data: the data set that they are from, if they are from one.
    """

    pixels: np.ndarray
    labels: np.ndarray
    source: str
    rad: int
    measure: str
    data: Dataset | None = None


def usual_count(size: tuple[int, int]) -> int:
    """How many frames a demo shows for a network of this (height, width) if it is not told."""
    return min(FRAMES, max(FEWEST, FRAMES * SIDE * SIDE // (size[0] * size[1])))


def demo_frames(files: ModelFiles, network: SDN, count: int, data: str | None) -> DemoFrames:
    """Test images of the model's data set, or frames of a virtual camera where there is none.

    Args:
        count: the largest number of frames.
        data: the folder of ``--data``.

    Raises:
        DataError: ``data``, $CIFAR10_DIR or $SIGNS_DIR names a data set that cannot be read.
    """
    try:
        found = data_of(data, files, DOWNLOAD_LIMIT_S)
        check_classes(network, found, read_card(files).classes)
        images = found.test.take(count)
        return DemoFrames(images.pixels, images.labels, found.test_title(), RAD, "accuracy", found)
    except DataError as error:
        if datasets.named(data, files.description.data_source):
            raise
        print(f"    no data set: {error}", flush=True)
    with open_camera(PHOTO_SOURCE) as camera:
        taken = [camera.read() for _ in range(count * PHOTO_STEP)][::PHOTO_STEP]
    size, fit = network.input_shape[1:], files.description.fit
    pixels = np.stack([fit_picture(frame.pixels, size, fit) for frame in taken if frame is not None])
    labels = score(network, pixels).classes[-1]
    source = "photos: frames of a virtual camera (no data set here); agreement with the full network on the clean frame"
    if of_cifar10(files):
        return DemoFrames(pixels, labels, source, PHOTO_RAD, "agreement")
    print(
        "    the network was not made for what these photographs show: look at where frames leave, not at the answers",
        flush=True,
    )
    return DemoFrames(pixels, labels, source, RAD, "agreement")


def of_cifar10(files: ModelFiles) -> bool:
    """Whether a model tells the classes of CIFAR-10 apart."""
    return files.description.classes == CIFAR10_CLASSES
