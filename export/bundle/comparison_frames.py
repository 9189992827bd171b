"""Frames on which the graphs of a bundle are compared with PyTorch."""

from pathlib import Path

import numpy as np

from device.errors import DataError
from device.pictures.fit import STRETCH
from export.data import cifar10, datasets
from export.data.images import Dataset


def comparison_frames(
    data: Dataset | str | Path | None,
    size: tuple[int, int],
    count: int = 200,
    fit: str = STRETCH,
    group: str = "",
    source: str = cifar10.NAME,
) -> tuple[np.ndarray, str]:
    """Frames uint8 (n, height, width, 3), and what they are: test images of the data set where there is one, else noise
    that is smoothed to look like an image.

    Args:
        data: a data set, the folder of one, or None for the places that datasets.load knows.
        size: (height, width) of the network's input.
        count: the largest number of frames.
        fit, group, source: how images are brought to this size and split, and which they are, as in datasets.load.

    Raises:
        DataError: ``data``, $CIFAR10_DIR or $SIGNS_DIR names a data set that cannot be read.
    """
    try:
        return datasets.given(data, size, fit, group, source=source, download=False).test.pixels[:count], "test images"
    except DataError:
        if isinstance(data, (str, Path)) or datasets.named(None, source):
            raise
    generator = np.random.default_rng(0)
    (height, width), patches = size, 4
    coarse = generator.integers(0, 256, (count, patches, patches, 3)).astype(np.float32)
    smooth = coarse.repeat(-(-height // patches), axis=1).repeat(-(-width // patches), axis=2)[:, :height, :width]
    fine = generator.normal(0, 12, (count, height, width, 3))
    return np.clip(smooth + fine, 0, 255).astype(np.uint8), "synthetic frames"
