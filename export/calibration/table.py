"""Algorithm 1 of the DefQ paper: the table Q_def learned from how DeepSloth changes the DCT spectrum."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from device.defence.block_transform import BLOCK, dct_matrix
from device.errors import DataError
from export.attacks.base import PerSampleAttack
from export.attacks.crafting import craft
from export.data.images import Images
from export.networks.sdn import SDN
from export.networks.weights import to_tensor


class TableSettings(NamedTuple):
    """How a table is learned.

    samples: number of calibration images. low, high: range of the steps, in units of pixels 0..255. seed: of the choice
    of images and of the attack.
    """

    samples: int = 1000
    low: int = 20
    high: int = 60
    seed: int = 0


def block_spectrum(images: np.ndarray) -> np.ndarray:
    """Orthonormal DCT-II of every 8 x 8 block.

    Args:
        images: float (n, c, h, w) in 0..255, h and w multiples of 8.

    Returns:
        float64 (blocks, 8, 8): all channels and blocks of all images.
    """
    n, channels, height, width = images.shape
    if height % BLOCK or width % BLOCK:
        raise DataError(
            f"found images of {height} x {width} pixels; expected multiples of {BLOCK} to learn a table from; resize them"
        )
    blocks = images.reshape(n * channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).swapaxes(2, 3)
    matrix = dct_matrix()
    spectrum: np.ndarray = matrix @ blocks.reshape(-1, BLOCK, BLOCK).astype(np.float64) @ matrix.T
    return spectrum


def mean_ratios(clean: np.ndarray, attacked: np.ndarray) -> np.ndarray:
    """D of Algorithm 1: per frequency the mean of (|F(attacked)| + 1) / (|F(clean)| + 1).

    Args:
        clean, attacked: float (n, c, h, w) in 0..255, image for image.

    Returns:
        float64 (8, 8).
    """
    ratios = (np.abs(block_spectrum(attacked)) + 1) / (np.abs(block_spectrum(clean)) + 1)
    mean: np.ndarray = ratios.mean(axis=0)
    return mean


def table_from_ratios(ratios: np.ndarray, low: int, high: int) -> np.ndarray:
    """Q_def = floor((D - min D) / (max D - min D) x (high - low) + low), int64 of the shape of ``ratios``.

    Raises:
        DataError: all ratios are equal, as when no image was changed.
    """
    least, most = float(ratios.min()), float(ratios.max())
    if not (np.isfinite(ratios).all() and most > least):
        raise DataError(
            f"found mean ratios from {least} to {most}; expected an attack that changes some frequencies more than others; check the attacked images"
        )
    return np.floor((ratios - least) / (most - least) * (high - low) + low).astype(np.int64)


class LearnedTable(NamedTuple):
    """What Algorithm 1 gives.

    steps: the table, int64 (8, 8). ratios: the mean ratios, float64 (8, 8). sample_ids: the images that it was learned
    from, by their index or the name of their file.
    """

    steps: np.ndarray
    ratios: np.ndarray
    sample_ids: list[int | str]


class Kept(NamedTuple):
    """Where attacked images are kept (export/attacks/crafting.py). identity: of the network, the SHA-256 of its weights."""

    identity: str
    folder: Path


def learn_table(
    network: SDN, images: Images, settings: TableSettings, attack: PerSampleAttack, kept: Kept | None = None
) -> LearnedTable:
    """Attack calibration images, and derive the table from how their spectrum changes.

    Args:
        network: in evaluation mode.
        images: the calibration images to choose from.
        kept: attack the first images, and keep them: the gate and the monitor of a model folder take the same. None: a random
            choice of images, attacked anew each time, as for the shipped tables.

    Raises:
        DataError: the attack changes no frequency more than another, or the images do not consist of whole blocks.
    """
    count = min(settings.samples, len(images.labels))
    if kept:
        chosen = np.arange(count)
        clean = to_tensor(images.pixels[:count])
        attacked = craft(attack, network, kept.identity, clean, kept.folder)
    else:
        chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(images.labels))[:count])
        clean = to_tensor(images.pixels[chosen])
        attacked = attack(network, clean, seed=settings.seed)
    ratios = mean_ratios(clean.numpy() * 255.0, attacked.numpy() * 255.0)
    return LearnedTable(table_from_ratios(ratios, settings.low, settings.high), ratios, images.ids(chosen))
