"""What the page's two pictures show. Drawn in a viewer's thread, at most so many times a second, once for all viewers."""

import threading
import time
from typing import Callable, Dict, List, Tuple

import cv2
import numpy as np

from device.bundle.reader import Bundle
from device.defence.defq import DefQ
from device.loop.preprocess import Preprocessor
from device.preview.recorder import Recorder, Shot

LONGEST, SHORTEST = 640, 384  # sides of the camera picture
JPEG_QUALITY = 80
AMPLIFIED = 12  # the difference that the attack makes: 8 levels are hard to see
POLL_S = 0.02
FONT = cv2.FONT_HERSHEY_DUPLEX
# BGR, as on the page: left on the device, answered by the host, nobody answered
COLOURS = {"edge": (178, 196, 45), "host": (60, 146, 250), "fallback": (175, 163, 156)}
ATTACK, DEFQ = (120, 96, 240), (250, 165, 96)


class Picture:
    """An encoded picture of the newest frame, for any number of viewers.

    Args:
        recorder: has the frame.
        render: draws and encodes it; called by one thread at a time.
        fps: at most so many a second.
    """

    def __init__(self, recorder: Recorder, render: Callable[[Shot], bytes], fps: float) -> None:
        self._recorder = recorder
        self._render = render
        self._period_s = 1 / fps
        self._lock = threading.Lock()
        self._number = 0
        self._content = b""
        self._due_s = 0.0

    def newer_than(self, number: int, patience_s: float) -> Tuple[int, bytes]:
        """Wait for a picture of a later frame than ``number``, and give its number and content.

        After ``patience_s`` the newest there is, and (0, b"") where there was no frame yet.
        """
        deadline_s = time.monotonic() + patience_s
        while True:
            with self._lock:
                now = time.monotonic()
                shot = self._recorder.newest
                if shot is not None and shot.number > self._number and now >= self._due_s:
                    self._content, self._number = self._render(shot), shot.number
                    self._due_s = now + self._period_s
                if self._number > number or now >= deadline_s:
                    return self._number, self._content
                wait_s = max(POLL_S, self._due_s - now)
            time.sleep(min(wait_s, max(0.0, deadline_s - now)))


class Painter:
    """Draws the two pictures.

    Args:
        bundle: of the pipeline.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._prepare = Preprocessor(bundle)
        self._quantisers: Dict[bytes, DefQ] = {}  # by their tables

    def camera(self, shot: Shot) -> bytes:
        """A JPEG of the camera's frame, with the decision below and marks for attack and DefQ above."""
        image = _for_page(shot.frame.pixels)
        height, width = image.shape[:2]
        decision = shot.decision
        colour = COLOURS[decision.source]
        bar = max(40, height // 9)
        size, middle = bar / 58, height - bar // 2
        strip = image[height - bar :]
        strip[:] = strip // 4
        image[height - bar : height - bar + 3] = colour
        told = "{} {:.0f}%".format(decision.label, 100 * decision.confidence)
        _text(image, told, int(16 * size), middle + int(11 * size), 0.9 * size, (255, 255, 255))
        told = "no answer" if decision.source == "fallback" else "exit {}".format(decision.exit)
        told = "{}  {}".format(told, decision.source)
        _tag(image, told, width - int(12 * size) - _tag_width(told, size), middle, size, colour)
        if (self._prepare.resize(shot.frame.pixels) != shot.pixels).any():
            _tag(image, "ATTACK", int(12 * size), int(30 * size), size, ATTACK)
        if decision.quantised:
            _tag(image, "DefQ", width - int(12 * size) - _tag_width("DefQ", size), int(30 * size), size, DEFQ)
        return _encoded(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])

    def _quantiser(self, pixels: np.ndarray, found: bool) -> DefQ:
        """With the table that a frame was quantised with: that of the gate's stage that found it, or the bundle's."""
        stage = self._bundle.gate.stage_for(pixels) if found and self._bundle.gate is not None else None
        table = self._bundle.table if stage is None else stage.table
        key = table.tobytes()
        if key not in self._quantisers:
            self._quantisers[key] = DefQ(table)
        return self._quantisers[key]

    def lens(self, shot: Shot) -> bytes:
        """What the network sees: a PNG of four pictures at its size, one beside the other. From left to right the frame as
        it came, under attack, their difference (amplified, grey = none), and what went into the network (quantised, if
        DefQ was on). For one thread at a time."""
        clean, seen = self._prepare.resize(shot.frame.pixels), shot.pixels
        difference = np.clip(128 + AMPLIFIED * (seen.astype(np.int16) - clean), 0, 255).astype(np.uint8)
        network = seen
        if shot.decision.quantised:
            network = self._quantiser(seen, bool(shot.decision.attacked)).planes(seen).transpose(1, 2, 0)
        strip = np.concatenate([clean, seen, difference, network], axis=1)
        return _encoded(cv2.cvtColor(strip, cv2.COLOR_RGB2BGR) if strip.shape[2] == 3 else strip, ".png", [])


def _for_page(pixels: np.ndarray) -> np.ndarray:
    """A BGR copy whose longer side is at most LONGEST and whose shorter one is at least SHORTEST."""
    height, width = pixels.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    if scale == 1:
        scale = max(1.0, min(SHORTEST / min(height, width), LONGEST / max(height, width)))
    if scale != 1:
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    grey = pixels.ndim == 2 or pixels.shape[2] == 1
    image: np.ndarray = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if grey else cv2.COLOR_RGB2BGR)
    return image


def _text(image: np.ndarray, text: str, x: int, base: int, size: float, colour: Tuple[int, int, int]) -> None:
    # OpenCV's own font has ASCII alone
    cv2.putText(image, text.encode("ascii", "replace").decode(), (x, base), FONT, size, colour, 1, cv2.LINE_AA)


def _tag(image: np.ndarray, text: str, x: int, middle: int, size: float, colour: Tuple[int, int, int]) -> None:
    """Dark text on a patch of colour."""
    half, rise = int(18 * size), int(8 * size)
    cv2.rectangle(image, (x, middle - half), (x + _tag_width(text, size), middle + half), colour, cv2.FILLED)
    _text(image, text, x + int(9 * size), middle + rise, 0.7 * size, (20, 20, 20))


def _tag_width(text: str, size: float) -> int:
    return int(cv2.getTextSize(text, FONT, 0.7 * size, 1)[0][0]) + int(18 * size)


def _encoded(image: np.ndarray, suffix: str, settings: List[int]) -> bytes:
    """BGR or grey, uint8 -> the bytes of an image file."""
    content: bytes = cv2.imencode(suffix, image, settings)[1].tobytes()
    return content
