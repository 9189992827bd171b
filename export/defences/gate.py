"""DefQ only for frames that are noisier than clean ones, with a threshold of their own: the settings and their effect."""

from typing import Any, NamedTuple

import numpy as np

from device.gate import noise_level


class Gate(NamedTuple):
    """level: of noise_level(), from which a frame counts as attacked. thresholds: for such frames, by RAD in percent."""

    level: float
    thresholds: dict[int, float]

    @classmethod
    def of(cls, content: dict[str, Any]) -> "Gate":
        """From the key ``gate`` of a table's file."""
        return cls(float(content["level"]), {int(rad): float(value) for rad, value in content["thresholds"].items()})

    def finds(self, frames: np.ndarray) -> np.ndarray:
        """Which of the frames uint8 (n, h, w, 3) count as attacked, bool (n,)."""
        return np.array([noise_level(frame) >= self.level for frame in frames], bool)

    def thresholds_for(self, frames: np.ndarray, rad: int, threshold: float) -> np.ndarray:
        """The threshold of every frame, float (n,)."""
        return np.where(self.finds(frames), self.thresholds[rad], threshold)
