"""Frames of one kind behind a gate on trial: what each setting of it would give, without running the network anew."""

from typing import NamedTuple

import numpy as np

from device.defence.gate import noise_level
from export.calibration.cost import ExitScores, OperatingPoint, operating_point, score
from export.calibration.last_exit import up_to
from export.calibration.model import CalibratedModel
from export.defences import table_defence

LEVELS = np.round(np.arange(0.35, 2.01, 0.05), 2)
"""Noise levels that a stage may begin at."""


class Stage(NamedTuple):
    """A stage on trial: level, threshold for each RAD, table."""

    level: float
    lows: dict[int, float]
    table: np.ndarray


class ScoredFrames:
    """One kind of frames with their noise levels, and their scores as they are and behind any table.

    Args:
        pixels: uint8 (n, h, w, 3); labels: int (n,).
        last: the exit, from 1, where frames leave at the latest; of all exits if None.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, model: CalibratedModel, last: int | None = None) -> None:
        self.pixels, self.labels, self.model, self.last = pixels, labels, model, last or len(model.costs)
        self.levels = np.array([noise_level(frame) for frame in pixels])
        self.plain = score(model.network, pixels)
        self._behind: dict[bytes, ExitScores] = {}

    def behind(self, table: np.ndarray) -> ExitScores:
        """Scores behind DefQ; frames that no level finds keep their plain ones."""
        key = table.tobytes()
        if key not in self._behind:
            chosen = np.flatnonzero(self.levels >= LEVELS[0])
            scores = ExitScores(*(each.copy() for each in self.plain))
            if len(chosen):
                quantised = score(self.model.network, table_defence("", table).pixels(self.pixels[chosen]))
                for whole, part in zip(scores, quantised, strict=True):
                    whole[:, chosen] = part
            self._behind[key] = scores
        return self._behind[key]

    def undefended(self, rad: int) -> OperatingPoint:
        """Without a gate or a last exit."""
        return operating_point(self.plain, self.labels, self.model.costs, self.model.thresholds[rad])

    def at(self, rad: int, *stages: Stage) -> OperatingPoint:
        """What the gate with these stages gives, from the lowest level to the highest."""
        thresholds: np.ndarray = np.full(len(self.labels), self.model.thresholds[rad])
        scores = self.plain
        for stage in stages:
            found = self.levels >= stage.level
            quantised = self.behind(stage.table)
            scores = ExitScores(*(np.where(found, q, p) for q, p in zip(quantised, scores, strict=True)))
            thresholds = np.where(found, stage.lows[rad], thresholds)
        return operating_point(up_to(scores, self.last), self.labels, self.model.costs[: self.last], thresholds)
