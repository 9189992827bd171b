"""The process in which bench/defq.py measures: DefQ and other ways to take a frame through a block DCT and back."""

import importlib
import importlib.util
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy import fft

from device.defence.defq import DefQ
from export.evaluation.timing import interleaved


def contenders(frame: np.ndarray, steps: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Calls that quantise ``frame`` (uint8 (h, w, 3)); the last ones are JPEG, which also packs and unpacks a file.

    libjpeg-turbo is left out where simplejpeg is not installed.
    """
    defq = DefQ(steps)
    rows = [np.rint(steps).astype(int).reshape(-1).tolist()] * 3
    image = Image.fromarray(frame)
    height, width, _ = frame.shape
    single = steps.astype(np.float32)

    def scipy_dct() -> np.ndarray:
        blocks = frame.reshape(height // 8, 8, width // 8, 8, 3).transpose(0, 2, 4, 1, 3).astype(np.float32)
        coefficients = np.rint(fft.dctn(blocks, axes=(-2, -1), norm="ortho") / single) * single
        back = np.clip(np.rint(fft.idctn(coefficients, axes=(-2, -1), norm="ortho")), 0, 255).astype(np.uint8)
        out: np.ndarray = back.transpose(0, 3, 1, 4, 2).reshape(frame.shape)
        return out

    def cv2_loop() -> np.ndarray:
        out = np.empty_like(frame)
        planes = frame.astype(np.float32)
        for channel in range(3):
            for top in range(0, height, 8):
                for left in range(0, width, 8):
                    block = cv2.dct(np.ascontiguousarray(planes[top : top + 8, left : left + 8, channel]))
                    back = cv2.idct(np.rint(block / single) * single)
                    out[top : top + 8, left : left + 8, channel] = np.clip(np.rint(back), 0, 255)
        return out

    def pillow() -> np.ndarray:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", qtables=rows, subsampling=0, keep_rgb=True)
        return np.asarray(Image.open(buffer))

    def turbo() -> np.ndarray:
        simplejpeg = importlib.import_module("simplejpeg")
        out: np.ndarray = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(frame, quality=50, colorsubsampling="444"))
        return out

    calls = {
        "DefQ": lambda: defq(frame),
        "DefQ, colour planes": lambda: defq.planes(frame),
        "scipy.fft block DCT": scipy_dct,
        "cv2.dct loop": cv2_loop,
        "Pillow JPEG, same table": pillow,
    }
    if importlib.util.find_spec("simplejpeg"):
        calls["libjpeg-turbo, quality 50"] = turbo
    return calls


def frame_of(height: int, width: int) -> np.ndarray:
    """Waves and noise, uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    waves = 128 + 60 * np.sin(x / 9)[..., None] + 50 * np.cos(y / 7)[..., None]
    noisy = waves + np.random.default_rng(0).normal(0, 8, (height, width, 3))
    frame: np.ndarray = np.clip(noisy, 0, 255).astype(np.uint8)
    return frame


def main() -> None:
    """Read a line of JSON with the table, then measure once for each further line, which has height and width, and answer with
    the microseconds of each contender as a line of JSON."""
    cv2.setNumThreads(1)
    steps = np.array(json.loads(sys.stdin.readline()))
    calls: dict[tuple[int, int], dict[str, Callable[[], Any]]] = {}
    for line in sys.stdin:
        height, width = json.loads(line)
        if (height, width) not in calls:
            calls[height, width] = contenders(frame_of(height, width), steps)
        print(json.dumps(interleaved(calls[height, width], rounds=1, clock=time.thread_time)), flush=True)


if __name__ == "__main__":
    main()
