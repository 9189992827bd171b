"""No defence: frames go to the head as they are."""

import numpy as np

from device.defence.base import Defence, Treatment


class Undefended(Defence):
    """Leaves every frame as it is."""

    def treat(self, pixels: np.ndarray) -> Treatment:
        return Treatment(self._scaled(pixels.transpose(2, 0, 1)), self.threshold)
