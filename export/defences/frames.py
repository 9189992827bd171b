"""Defences of one frame, uint8 (h, w, 3) in RGB, which return the same shape: DefQ, and those that it is compared with."""

from collections.abc import Callable

import cv2
import numpy as np

from device.defence.block_transform import BLOCK
from device.defence.defq import DefQ

FrameDefence = Callable[[np.ndarray, np.random.Generator], np.ndarray]

# Liu et al., "Feature Distillation: DNN-Oriented JPEG Compression Against Adversarial Examples", CVPR 2019: the steps
# of the authors' code, 25 for the 4 x 4 lowest frequencies and 30 for the others, on RGB
DISTILLATION_TABLE = np.full((BLOCK, BLOCK), 30.0)
DISTILLATION_TABLE[:4, :4] = 25


def quantisation(table: np.ndarray) -> FrameDefence:
    """DefQ as the device runs it."""
    defq = DefQ(table)
    return lambda frame, _: defq(frame).copy()


def random_quantisation(table: np.ndarray, spread: float) -> FrameDefence:
    """DefQ whose grid of blocks begins at a random place in every frame, and whose steps are all multiplied by a random factor
    between 1 / (1 + spread) and 1 + spread.

    Args:
        table: quantisation steps, (8, 8).
    """
    levels = [DefQ(np.maximum(table * (1 + spread) ** (level / 4), 1)) for level in range(-4, 5)]

    def defend(frame: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        defq = levels[generator.integers(len(levels)) if spread else 4]
        top, left = generator.integers(0, BLOCK, 2)
        shifted = cv2.copyMakeBorder(frame, int(top), 0, int(left), 0, cv2.BORDER_REPLICATE)
        return defq(shifted)[top:, left:].copy()

    return defend


def jpeg(quality: int) -> FrameDefence:
    """JPEG compression and decompression by libjpeg-turbo, as OpenCV calls it, with chroma halved in both directions."""

    def defend(frame: np.ndarray, _: np.random.Generator) -> np.ndarray:
        packed = cv2.imencode(".jpg", frame[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        unpacked = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        assert unpacked is not None
        return unpacked[:, :, ::-1]

    return defend


def bit_depth(bits: int) -> FrameDefence:
    """Feature squeezing (Xu et al., NDSS 2018): every channel rounded to 2^bits levels."""
    levels = 2**bits - 1
    table = np.rint(np.rint(np.arange(256) / 255 * levels) / levels * 255).astype(np.uint8)
    return lambda frame, _: cv2.LUT(frame, table)


def median(size: int) -> FrameDefence:
    """Feature squeezing (Xu et al., NDSS 2018): the median of size x size pixels."""
    return lambda frame, _: cv2.medianBlur(frame, size)


def gaussian(sigma: float) -> FrameDefence:
    """Gaussian blur with a kernel of 3 x 3 pixels; ``sigma`` in pixels."""
    return lambda frame, _: cv2.GaussianBlur(frame, (3, 3), sigma)


def random_resizing(smallest: float) -> FrameDefence:
    """Random resizing (Xie et al., ICLR 2018): shrink by a random factor of at least ``smallest``, and place the result at random
    on a black frame of the old size."""

    def defend(frame: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        height, width = frame.shape[:2]
        scale = generator.uniform(smallest, 1)
        new_height, new_width = round(height * scale), round(width * scale)
        top = int(generator.integers(height - new_height + 1))
        left = int(generator.integers(width - new_width + 1))
        out = np.zeros_like(frame)
        small = cv2.resize(frame, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
        out[top : top + new_height, left : left + new_width] = small
        return out

    return defend
