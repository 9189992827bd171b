"""Tables that only reports use, learned on calibration images: for DefQ in YCbCr, and from attacks of other norms."""

import numpy as np
import torch

from export.calibration.attacked_images import SAMPLES, SLOW_SAMPLES, attacked
from export.calibration.model import CalibratedModel
from export.calibration.table import mean_ratios, table_from_ratios
from export.data.frames import to_pixels
from export.data.images import Dataset
from export.defences import BlockQuantiser, Defence, defence_named, table_defence
from export.defences.quantiser import YCBCR
from export.networks.weights import to_tensor

LUMA, CHROMA = (16, 48), (32, 96)


def _pairs(model: CalibratedModel, data: Dataset, attack: str, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Calibration images and their attacked twins, float32 (n, 3, h, w) in 0..255."""
    images = data.calibration.take(samples)
    harmed = attacked(attack, model, data, images, defence_named("none"))
    return to_tensor(images.pixels).numpy() * 255, harmed.numpy() * 255


def ycbcr_tables(model: CalibratedModel, data: Dataset) -> np.ndarray:
    """Algorithm 1 in YCbCr: one table for luma, range 16 to 48, one for both chroma planes, 32 to 96. float (3, 8, 8)."""
    planes = [np.einsum("ij,njhw->nihw", YCBCR.numpy(), each) for each in _pairs(model, data, "linf", SAMPLES)]
    luma = table_from_ratios(mean_ratios(*(each[:, :1] for each in planes)), *LUMA)
    chroma = table_from_ratios(mean_ratios(*(each[:, 1:] for each in planes)), *CHROMA)
    return np.stack([luma, chroma, chroma]).astype(np.float64)


def ycbcr_defence(name: str, tables: np.ndarray) -> Defence:
    """DefQ in YCbCr; tables float (3, 8, 8)."""
    quantiser = BlockQuantiser(tables, ycbcr=True)

    def defend(frame: np.ndarray, _: np.random.Generator) -> np.ndarray:
        with torch.no_grad():
            pixels: np.ndarray = to_pixels(quantiser(to_tensor(frame[None])))[0]
        return pixels

    return Defence(name, defend, quantiser, f"ycbcr {tables.tolist()}")


def defq_learned_from(attack: str, model: CalibratedModel, data: Dataset) -> Defence:
    """DefQ with a table of range 20 to 60, learned from ``attack`` on a few calibration images."""
    ratios = mean_ratios(*_pairs(model, data, attack, SLOW_SAMPLES))
    return table_defence(f"defq from {attack}", table_from_ratios(ratios, 20, 60))
