"""The interface of all engines: an engine runs the head of a bundle for one frame at a time."""

from typing import NamedTuple, Optional

import numpy as np


class HeadResult(NamedTuple):
    """The head's answer for one frame."""

    label: int
    """Index of the class at the exit where the frame left, or at the last exit on the device if it did not leave."""
    confidence: float
    """Maximum of the softmax of that exit, in [0, 1]."""
    exit: int
    """1-based exit where the frame left; 0 if it did not leave on the device. Where all exits are on the device, a frame that no
    exit is confident about leaves at the final classifier."""
    activation: Optional[np.ndarray]
    """float32 (1, ...), the input of the tail, if the frame did not leave; otherwise None."""


class Engine:
    """Runs the head of a bundle. An instance serves one thread."""

    name = "engine"
    """What is really used, for people: library, device and precision."""

    def run(self, image: np.ndarray, threshold: float, defq: bool = False) -> HeadResult:
        """Run the head on one frame.

        Args:
            image: float32 (1, channels, height, width) in [0, 1], RGB.
            threshold: the confidence from which a frame leaves at an exit.
            defq: apply DefQ inside the head, if the bundle has DefQ fused into its head. Other heads ignore it: their frames
                come quantised.

        Raises:
            EngineError: the engine failed, or it was closed.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Free the memory of the engine, that of a GPU included. It cannot run afterwards. A second call does nothing."""
