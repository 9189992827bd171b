"""Calibration images with their scores, to try the stages of a noise gate on without running the network every time."""

import numpy as np

from device.defence.gate import noise_level
from export.calibration.cost import ExitScores, OperatingPoint, operating_point, score
from export.calibration.gate_file import GateStage
from export.calibration.last_exit import up_to
from export.calibration.model import CalibratedModel
from export.defences import table_defence

LEVELS = np.round(np.arange(0.35, 2.01, 0.05), 2)
"""Noise levels at which a stage may begin, in units of pixels 0..255."""


class ScoredFrames:
    """Frames of one kind, clean or under one attack, with their noise levels and their scores without and with DefQ.

    Args:
        pixels: uint8 (n, h, w, 3).
        labels: int (n,), the true classes.
        model: the network that scores them.
        last: the exit, from 1, at which the network ends; None: at the final classifier.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, model: CalibratedModel, last: int | None = None) -> None:
        self.pixels, self.labels, self.model, self.last = pixels, labels, model, last or len(model.costs)
        self.levels = np.array([noise_level(frame) for frame in pixels])
        self.plain = score(model.network, pixels)
        self._behind: dict[bytes, ExitScores] = {}

    def behind(self, table: np.ndarray) -> ExitScores:
        """Scores behind DefQ with ``table``, (8, 8). Frames below the lowest of LEVELS, which no stage treats, keep their
        scores without DefQ."""
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
        """What the whole network gives at ``rad`` without a gate."""
        return operating_point(self.plain, self.labels, self.model.costs, self.model.thresholds[rad])

    def at(self, rad: int, *stages: GateStage) -> OperatingPoint:
        """What the network that ends at ``last`` gives at ``rad`` behind a gate with these stages, in ascending order of
        their levels. Without stages: what it gives without a gate."""
        thresholds: np.ndarray = np.full(len(self.labels), self.model.thresholds[rad])
        scores = self.plain
        for stage in stages:
            found = self.levels >= stage.level
            quantised = self.behind(stage.table)
            scores = ExitScores(*(np.where(found, q, p) for q, p in zip(quantised, scores, strict=True)))
            thresholds = np.where(found, stage.thresholds[rad], thresholds)
        return operating_point(up_to(scores, self.last), self.labels, self.model.costs[: self.last], thresholds)
