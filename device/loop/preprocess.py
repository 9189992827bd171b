"""Fits camera frames to the network: its size and its number of channels."""

import cv2
import numpy as np

from device.bundle.reader import Bundle
from device.defence.defq import check_frame
from device.pictures.fit import fit_picture


class Preprocessor:
    """Brings frames to the size and the channels of a bundle's network."""

    def __init__(self, bundle: Bundle) -> None:
        self._channels, self._height, self._width = bundle.input_shape
        self._fit = bundle.fit

    def resize(self, pixels: np.ndarray) -> np.ndarray:
        """Bring a frame to the network's size, as the bundle says, and to its channels.

        Args:
            pixels: uint8 (h, w, 3) RGB, (h, w, 1) or (h, w) grey.

        Returns:
            uint8 (height, width, channels) of the network, contiguous.

        Raises:
            FrameError: another type or shape.
        """
        check_frame(pixels)
        pixels = fit_picture(pixels, (self._height, self._width), self._fit)
        colours = pixels.shape[2] if pixels.ndim == 3 else 1
        if colours != self._channels:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if self._channels == 3 else cv2.COLOR_RGB2GRAY)
        return pixels.reshape(self._height, self._width, self._channels)
