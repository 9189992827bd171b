"""What every engine offers."""

from typing import NamedTuple, Optional

import numpy as np


class HeadResult(NamedTuple):
    """The head's answer for one frame."""

    label: int
    """Class of the exit the frame left at, or of the last device exit."""
    confidence: float
    """Maximum of that exit's softmax."""
    exit: int
    """1-based exit the frame left at; 0 = it did not leave."""
    activation: Optional[np.ndarray]
    """float32 (1, ...) for the host where the frame did not leave, else None."""


class Engine:
    """Runs the head of a bundle for one frame at a time."""

    name = "engine"

    def run(self, image: np.ndarray, threshold: float, defq: bool = False) -> HeadResult:
        """Run the head.

        Args:
            image: float32 (1, channels, height, width) in [0, 1], RGB.
            threshold: confidence from which a frame leaves.
            defq: let a head with fused DefQ apply it; without effect on other heads.

        Raises:
            EngineError: the back end failed.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Give back memory, of a GPU above all. The engine is of no use then; closing it again does nothing."""
