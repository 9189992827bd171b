"""Gated DefQ: only the frames that the noise gate takes for attacked are quantised."""

from typing import Optional

import numpy as np

from device.bundle.reader import Bundle
from device.defence.base import Defence, Treatment
from device.defence.defq import DefQ
from device.defence.gate import Gate
from device.errors import UsageError


class Gated(Defence):
    """Quantises the frames that a stage of the gate finds, with the table and the threshold of that stage.

    Raises:
        UsageError: the bundle has no gate.
    """

    needs = "gate"

    def __init__(self, bundle: Bundle, rad: int, threshold: Optional[float] = None) -> None:
        super().__init__(bundle, rad, threshold)
        if bundle.gate is None:
            raise UsageError(self.missing(bundle))
        self.gate: Gate = bundle.gate
        self._rad = rad
        self._quantisers = {stage.level: DefQ(stage.table) for stage in self.gate.stages}

    @classmethod
    def missing(cls, bundle: Bundle) -> str:
        if bundle.gate is not None:
            return ""
        return ("found --defq gated, but no gate in bundle {}; expected a bundle with a calibrated gate; calibrate it with: "
                "defq gate --model {}, and export the bundle again".format(bundle.path, bundle.model))  # fmt: skip

    def treat(self, pixels: np.ndarray) -> Treatment:
        stage = self.gate.stage_for(pixels)
        if stage is None:
            return Treatment(self._scaled(pixels.transpose(2, 0, 1)), self.threshold, found=False)
        planes = self._quantisers[stage.level].planes(pixels)
        return Treatment(self._scaled(planes), stage.thresholds[self._rad], stage.table, found=True)

    def describe(self) -> str:
        return "; ".join(
            "noise level {:.2f}, threshold {:.2f}".format(stage.level, stage.thresholds[self._rad])
            for stage in self.gate.stages
        )
