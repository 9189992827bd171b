"""Searches a table that restores as much EFCY as possible while clean frames lose no more than a bound of their accuracy.

The search goes along one coordinate at a time: a diagonal of the table, whose frequencies have the same row + column. It
begins with Q_def, scaled so that the bound holds. Only calibration images are used, with the thresholds of the model card.
Gradients through the quantiser do not serve here, because they do not show that a coefficient which is rounded to zero is
lost.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from device.defence.block_transform import BLOCK
from export.calibration.attacked_images import SAMPLES, attacked
from export.calibration.cost import OperatingPoint, operating_point, score
from export.calibration.model import CalibratedModel
from export.calibration.searched_table import SearchedTable
from export.data.frames import to_pixels
from export.data.images import Dataset
from export.defences import BlockQuantiser, defence_named
from export.networks.weights import to_tensor

CLEAN_SAMPLES = 1000
BOUND = 0.015
"""Accuracy that clean calibration images may lose at each RAD. The aim on other images is 0.02."""
SCALES = (0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0)
FACTORS = (1.35, 1 / 1.35)
LARGEST_STEP = 255
DIAGONALS = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))


class Trial(NamedTuple):
    """What a table gives on calibration images.

    restored: share of the EFCY of clean images that images under L-inf have, the mean over the RADs. attacked_accuracy:
    accuracy of these images, the mean over the RADs. clean_loss: the largest accuracy that clean images lose at any RAD.
    """

    restored: float
    attacked_accuracy: float
    clean_loss: float

    @property
    def merit(self) -> float:
        """How good the table is, the larger the better: mostly the restored EFCY; accuracy decides between near equals."""
        return self.restored + 0.25 * self.attacked_accuracy


class TableSearch:
    """Tries tables on the calibration images of one network.

    Args:
        model: with its table.
        data: its calibration images are used. The first SAMPLES of them are attacked, or read back where they were
            attacked before.
    """

    def __init__(self, model: CalibratedModel, data: Dataset) -> None:
        clean, few = data.calibration.take(CLEAN_SAMPLES), data.calibration.take(SAMPLES)
        harmed = attacked("linf", model, data, few, defence_named("none"))
        self._model = model
        self._clean, self._clean_labels = to_tensor(clean.pixels), clean.labels
        self._harmed, self._harmed_labels = to_tensor(to_pixels(harmed)), few.labels
        self._plain = self._points(self._clean, self._clean_labels)
        self.counts = {"clean": len(clean.labels), "linf": len(few.labels)}

    def _points(self, images: Tensor, labels: np.ndarray) -> list[OperatingPoint]:
        scores = score(self._model.network, images)
        return [operating_point(scores, labels, self._model.costs, each) for each in self._model.thresholds.values()]

    def trial(self, table: np.ndarray) -> Trial:
        """What clean and attacked images give behind DefQ with ``table``, (8, 8)."""
        with torch.no_grad():
            quantise = BlockQuantiser(table)
            clean = self._points(quantise(self._clean), self._clean_labels)
            harmed = self._points(quantise(self._harmed), self._harmed_labels)
        return Trial(
            float(np.mean([each.efcy / plain.efcy for each, plain in zip(harmed, self._plain, strict=True)])),
            float(np.mean([each.accuracy for each in harmed])),
            max(plain.accuracy - each.accuracy for each, plain in zip(clean, self._plain, strict=True)),
        )

    def run(self, bound: float = BOUND, passes: int = 2) -> tuple[np.ndarray, Trial]:
        """Search, and print one line after every pass.

        The search begins with the best scale of Q_def that keeps the bound, or with the weakest scale where none keeps it.
        Then the steps of each diagonal in turn are made larger and smaller, and a change is kept where the table becomes
        better and the bound holds.

        Args:
            bound: accuracy that clean images may lose at any RAD.
            passes: how often all diagonals are tried, at most.

        Returns:
            The best table found, int64 (8, 8), and what it gives.
        """
        steps = self._model.own_table().steps.astype(np.float64)
        trials = [(whole(steps * scale), self.trial(whole(steps * scale))) for scale in SCALES]
        kept = [each for each in trials if each[1].clean_loss <= bound] or trials[:1]
        table, best = max(kept, key=lambda each: each[1].merit)
        print(f"{self._model.name}: scaled Q_def: {shown(best)}", flush=True)
        for number in range(1, passes + 1):
            changed = False
            for diagonal in range(2 * BLOCK - 1):
                for factor in FACTORS:
                    other = whole(np.where(diagonal == DIAGONALS, table * factor, table))
                    found = self.trial(other)
                    if found.clean_loss <= max(bound, best.clean_loss) and found.merit > best.merit + 1e-4:
                        table, best, changed = other, found, True
                        break
            print(f"{self._model.name}: pass {number}: {shown(best)}", flush=True)
            if not changed:
                break
        return table, best


def whole(table: np.ndarray) -> np.ndarray:
    """``table``, (8, 8), rounded to whole steps from 1 to LARGEST_STEP; int64 (8, 8)."""
    steps: np.ndarray = np.clip(np.rint(table), 1, LARGEST_STEP).astype(np.int64)
    return steps


def shown(trial: Trial) -> str:
    return (
        f"restores {trial.restored:.3f} of clean EFCY, accuracy {trial.attacked_accuracy:.3f}, "
        f"clean accuracy lost {trial.clean_loss:.3f}"
    )


def search_table(model: CalibratedModel, data: Dataset) -> SearchedTable:
    """Search a table for a network.

    Args:
        model: with its table.
        data: its calibration images are used.

    Raises:
        DataError: the model has no table.
    """
    search = TableSearch(model, data)
    table, best = search.run()
    figures = {name: round(value, 4) for name, value in best._asdict().items()}
    return SearchedTable(table, bound=BOUND, **figures, images=search.counts, weights_sha256=model.identity)
