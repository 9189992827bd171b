"""Cuts what a photograph shows out of its plain background, and pastes it onto others.

A network that has only seen plain backgrounds takes whatever lies on a desk for a part of what it is shown. Cutting and pasting was
enough to train detectors for kitchens from objects before a screen (Dwibedi, Misra, Hebert, ICCV 2017).
"""

from collections.abc import Sequence

import cv2
import numpy as np

MARGIN = 0.06
"""Of the width and the height, left, right and above: where the background's colour is read. The upper margin is background for certain."""
STEPS = 5
SOFT = 0.01
"""Of the shorter side: how far the edge of the mask is blurred."""


def mask_of(photo: np.ndarray) -> np.ndarray:
    """Where a photograph shows no background: float32 (h, w, 1) from 0 to 1, by GrabCut (Rother et al., SIGGRAPH 2004), which begins
    at what has another colour than the background.

    Args:
        photo: uint8 (h, w, 3).
    """
    height, width = photo.shape[:2]
    left, top = max(1, round(width * MARGIN)), max(1, round(height * MARGIN))
    colours = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB)[..., 1:].astype(
        np.float32
    )  # without the light, which fades to the sides
    around = np.ones((height, width), bool)
    around[top:, left:-left] = False
    distance = np.linalg.norm(colours - np.median(colours[around], axis=0), axis=2)
    scaled = np.minimum(distance * (255 / max(float(distance.max()), 1.0)), 255).astype(np.uint8)
    _, differs = cv2.threshold(scaled, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    labels = np.where(differs == 1, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[:top] = cv2.GC_BGD
    if differs[top:].any():
        cv2.setRNGSeed(0)
        no_rectangle = (0, 0, 1, 1)
        cv2.grabCut(photo, labels, no_rectangle, np.zeros((1, 65)), np.zeros((1, 65)), STEPS, cv2.GC_INIT_WITH_MASK)
    mask = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count > 2:
        mask = (parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.5, SOFT * min(height, width)))
    return soft[..., None]


def pasted(photos: np.ndarray, backgrounds: Sequence[np.ndarray]) -> np.ndarray:
    """What photographs show, in front of other backgrounds.

    Args:
        photos: uint8 (n, h, w, 3).
        backgrounds: uint8 (h, w, 3) each; they are taken in turn.

    Returns:
        uint8 (n, h, w, 3).
    """
    results = []
    for number, photo in enumerate(photos):
        mask = mask_of(photo)
        behind = backgrounds[number % len(backgrounds)]
        results.append(np.rint(mask * photo + (1 - mask) * behind).astype(np.uint8))
    return np.stack(results)
