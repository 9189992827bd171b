"""The defence "on": every frame goes through DefQ (device/defence/defq.py has the arithmetic), with the bundle's table."""

from typing import Optional

import numpy as np

from device.bundle.reader import Bundle
from device.defence.base import Defence, Treatment
from device.defence.defq import DefQ


class Quantised(Defence):
    """Quantises every frame, or has the head do so where the bundle's head applies the table itself."""

    def __init__(self, bundle: Bundle, rad: int, threshold: Optional[float] = None) -> None:
        super().__init__(bundle, rad, threshold)
        self._table = bundle.table
        self._fused = bundle.defq_fused
        self._defq = DefQ(bundle.table)

    def treat(self, pixels: np.ndarray) -> Treatment:
        planes = pixels.transpose(2, 0, 1) if self._fused else self._defq.planes(pixels)
        return Treatment(self._scaled(planes), self.threshold, self._table, fused=self._fused)
