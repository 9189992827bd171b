"""Augmentation: what photographs show, cut out of their plain backgrounds and put in front of others, in a light of its own."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch

from export.data.cutout import mask_of

SMALLEST, LARGEST = 0.6, 1.15
"""How large what is cut out is shown, as a share of its size."""
AWAY = 0.1
"""Farthest shift from its place, as a share of the side, of what is shown as large as it is."""
LIGHT, TINT = 0.35, 0.12
"""As in augmentation.py, for what is cut out alone."""
HARDEST = 0.6
"""Part of the soft edge of a mask that may be cut off: the outermost pixels still show some of the old background."""


def masks_of(pixels: np.ndarray) -> np.ndarray:
    """Where photographs show no background (export/data/cutout.py), uint8 (n, h, w, 1). Takes 0.04 s for each of 96 x 96 pixels."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        found = list(pool.map(mask_of, pixels))
    return np.stack([np.rint(each * 255).astype(np.uint8) for each in found])


class Pasting:
    """Puts some photographs of a batch in front of other backgrounds.

    Args:
        pixels: the photographs that are trained with, uint8 (n, h, w, 3), before plain backgrounds.
        backgrounds: uint8 (m, H, W, 3), of the photographs' size or larger.
        share: of the photographs, 0 to 1.
    """

    def __init__(self, pixels: np.ndarray, backgrounds: np.ndarray, share: float) -> None:
        self.masks, self.backgrounds, self.share = masks_of(pixels), backgrounds, share

    def __call__(self, pixels: np.ndarray, index: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """A batch, of which about ``share`` are before another background.

        Args:
            pixels: uint8 (n, h, w, 3).
            index: which photographs these are, int (n,).
        """
        out = pixels.copy()
        drawn = torch.rand(len(pixels), 14, generator=generator, dtype=torch.float64).numpy()
        for place, numbers in enumerate(drawn):
            if numbers[0] < self.share:
                out[place] = self._pasted(pixels[place], self.masks[index[place]], numbers[1:])
        return out

    def _pasted(self, photo: np.ndarray, mask: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        size, x, y, light, red, green, blue, edge, *behind = numbers
        height, width = photo.shape[:2]
        scale = SMALLEST + (LARGEST - SMALLEST) * size
        room = np.array([width, height]) * (AWAY + max(1 - scale, 0) / 2)
        shift = np.array([x - 0.5, y - 0.5]) * 2 * room
        middle = np.array([width - 1, height - 1]) / 2
        matrix = np.column_stack([np.eye(2) * scale, middle - scale * middle + shift])
        # beyond the edge an arm goes on as it is at the edge
        moved = cv2.warpAffine(
            np.dstack([photo, mask]), matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        cut = HARDEST * edge
        share = np.clip((moved[..., 3:] / 255 - cut) / (1 - cut), 0, 1)
        gain = np.exp((2 * light - 1) * LIGHT + (2 * np.array([red, green, blue]) - 1) * TINT)
        shown = np.minimum(moved[..., :3] * gain, 255)
        mixed: np.ndarray = np.rint(share * shown + (1 - share) * self._behind(height, width, behind)).astype(np.uint8)
        return mixed

    def _behind(self, height: int, width: int, numbers: list[float]) -> np.ndarray:
        which, top, left, flip, near = numbers
        whole = self.backgrounds[int(which * len(self.backgrounds))]
        least = max(height / whole.shape[0], width / whole.shape[1]) / 2
        part = least + (1 - least) * near if near < 0.7 else 1.0
        h, w = max(1, int(whole.shape[0] * part)), max(1, int(whole.shape[1] * part))
        top, left = int(top * (whole.shape[0] - h)), int(left * (whole.shape[1] - w))
        crop = whole[top : top + h, left : left + w]
        way = cv2.INTER_AREA if w > width else cv2.INTER_LINEAR
        resized: np.ndarray = cv2.resize(crop, (width, height), interpolation=way)
        return resized[:, ::-1] if flip < 0.5 else resized
