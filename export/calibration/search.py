"""A table tuned for what DefQ is for: the most restored EFCY that a bound on clean accuracy allows.

Coordinate search over the diagonals of equal frequency (row + column), from Q_def scaled to the bound. Everything on
calibration images, with the shipped thresholds. The gradient through the quantiser does not serve: it does not see that
a coefficient which rounds to zero is gone.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from device.defence.defq import BLOCK
from export.calibration.attacked_images import SAMPLES, attacked
from export.calibration.cost import operating_point, score
from export.calibration.model import CalibratedModel
from export.data.frames import to_pixels
from export.data.images import Dataset
from export.defences import BlockQuantiser, defence_named
from export.networks.weights import to_tensor

CLEAN_SAMPLES = 1000
BOUND = 0.015
"""Accuracy that clean calibration images may lose at each RAD; the goal is 0.02 on other images."""
SCALES = (0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0)
FACTORS = (1.35, 1 / 1.35)
LARGEST_STEP = 255
DIAGONALS = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))


class Trial(NamedTuple):
    """What a table gives: share of clean EFCY restored under L-inf (mean over RADs), accuracy there, and the largest
    accuracy that clean images lose at any RAD."""

    restored: float
    attacked_accuracy: float
    clean_loss: float

    @property
    def merit(self) -> float:
        """Restored EFCY first; accuracy settles what is nearly equal."""
        return self.restored + 0.25 * self.attacked_accuracy


class TableSearch:
    """Tries tables on the calibration images of one network.

    Args:
        model: the network with its thresholds.
        data: its calibration images; the first SAMPLES of them are attacked, or taken from the cache.
    """

    def __init__(self, model: CalibratedModel, data: Dataset) -> None:
        clean, few = data.calibration.take(CLEAN_SAMPLES), data.calibration.take(SAMPLES)
        harmed = attacked("linf", model, data, few, defence_named("none"))
        self._model = model
        self._clean, self._clean_labels = to_tensor(clean.pixels), clean.labels
        self._harmed, self._harmed_labels = to_tensor(to_pixels(harmed)), few.labels
        self._plain = self._points(self._clean, self._clean_labels)
        self.counts = {"clean": len(clean.labels), "linf": len(few.labels)}

    def _points(self, images: Tensor, labels: np.ndarray) -> list[Any]:
        scores = score(self._model.network, images)
        return [operating_point(scores, labels, self._model.costs, each) for each in self._model.thresholds.values()]

    def trial(self, table: np.ndarray) -> Trial:
        """Both kinds of images behind DefQ with ``table``, float (8, 8)."""
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
        """The best table found, int64 (8, 8), and what it gives. Prints one line a pass.

        Of the scales of Q_def that keep the bound the best is where the search begins (the weakest, if none does);
        then each diagonal in turn is made coarser and finer, and a change is kept where it is better within the bound.
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
    """Whole steps from 1 to LARGEST_STEP, int64 (8, 8)."""
    steps: np.ndarray = np.clip(np.rint(table), 1, LARGEST_STEP).astype(np.int64)
    return steps


def shown(trial: Trial) -> str:
    return (
        f"restores {trial.restored:.3f} of clean EFCY, accuracy {trial.attacked_accuracy:.3f}, "
        f"clean accuracy lost {trial.clean_loss:.3f}"
    )


def search_table(model: CalibratedModel, data: Dataset) -> dict[str, Any]:
    """The key ``searched`` of a table's file, JSON-ready."""
    search = TableSearch(model, data)
    table, best = search.run()
    figures = {name: round(value, 4) for name, value in best._asdict().items()}
    return {
        "table": table.tolist(), "bound": BOUND, **figures, "images": search.counts, "weights_sha256": model.identity
    }  # fmt: skip
