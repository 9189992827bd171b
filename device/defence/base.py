"""What every defence offers: it turns the pixels of a frame into what the head is given."""

from typing import NamedTuple, Optional

import numpy as np

from device.bundle.reader import Bundle


class Treatment(NamedTuple):
    """What is done to a frame before the head sees it."""

    image: np.ndarray
    """For the head: float32 (1, channels, height, width) in [0, 1]. The defence writes its next image into the same array."""
    threshold: float
    """Confidence from which the frame leaves, 0 to 1."""
    table: Optional[np.ndarray] = None
    """The table that quantises the frame, float32 (8, 8); None for a frame that is left as it is."""
    found: Optional[bool] = None
    """Whether the gate takes the frame for attacked; None where no gate was asked."""
    fused: bool = False
    """Whether the head is to apply the table itself. ``image`` is not quantised then."""

    @property
    def quantised(self) -> bool:
        """Whether DefQ is applied to the frame, here or by the head."""
        return self.table is not None


class Defence:
    """Treats the frames of one pipeline, in its thread.

    Args:
        bundle: gives the input's shape, the table and the gate.
        rad: relative accuracy drop in percent.
        threshold: confidence from which a frame leaves; the default is the bundle's for ``rad``.
    """

    needs: Optional[str] = None
    """The optional part of a bundle without which there is no such defence; ``defq PART`` calibrates it."""

    def __init__(self, bundle: Bundle, rad: int, threshold: Optional[float] = None) -> None:
        self.threshold = bundle.threshold(rad) if threshold is None else threshold
        self._image = np.zeros((1, *bundle.input_shape), np.float32)
        self._white = np.full((1, 1, 1), 255, np.float32)

    @classmethod
    def missing(cls, bundle: Bundle) -> str:
        """What the bundle lacks for this defence, as one sentence; empty where nothing is missing."""
        return ""

    def treat(self, pixels: np.ndarray) -> Treatment:
        """Treat one frame.

        Args:
            pixels: uint8 (height, width, channels) of the network's input.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """The settings of this defence, for the line at the start of a run; empty where there are none."""
        return ""

    def _scaled(self, planes: np.ndarray) -> np.ndarray:
        """The head's image from ``planes``, uint8 (channels, height, width)."""
        np.divide(planes, self._white, out=self._image[0])
        return self._image
