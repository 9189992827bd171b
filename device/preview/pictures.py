"""What the page's two pictures show. Drawn in a viewer's thread, at most so many times a second, once for all viewers."""

import threading
import time
from typing import Callable, Dict, List, Tuple

import cv2
import numpy as np

from device.bundle.reader import Bundle
from device.defence.defq import DefQ
from device.loop.preprocess import Preprocessor
from device.loop.sinks import Decision
from device.preview.preview_sink import PreviewSink, Shot

LONGEST = 640  # side of the camera picture
ENLARGED_HEIGHT = 384  # that small frames fit in when they are enlarged
LEAST_WIDTH, LEAST_HEIGHT = 740, 240  # of the picture: room for the words
JPEG_QUALITY = 80
SHARP_QUALITY = 92  # of enlarged pixels, whose edges are hard
AMPLIFIED = 12  # the difference that the attack makes: 8 levels are hard to see
POLL_S = 0.02
FONT = cv2.FONT_HERSHEY_DUPLEX
# BGR, as on the page: left on the device, answered by the host, not answered
COLOURS = {"edge": (178, 196, 45), "host": (60, 146, 250), "fallback": (175, 163, 156)}
PLACES = {"edge": "exit {}, device", "host": "exit {}, host", "fallback": "fallback"}
ATTACK, DEFQ, WRONG = (208, 111, 238), (250, 165, 96), (94, 107, 255)
WHITE, PALE, GROUND = (255, 255, 255), (186, 171, 158), (35, 27, 21)


class Picture:
    """An encoded picture of the newest frame, for any number of viewers.

    Args:
        sink: has the frame.
        render: draws and encodes it; called by one thread at a time.
        fps: at most so many a second.
    """

    def __init__(self, sink: PreviewSink, render: Callable[[Shot], bytes], fps: float) -> None:
        self._sink = sink
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
                shot = self._sink.newest
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
        """A JPEG of the camera's frame with marks for attack and DefQ above, and the decision on a strip below it.

        Where the frame's class is known and the decision names another, the strip says so in red.
        """
        picture, quality = _for_page(shot.frame.pixels)
        decision = shot.decision
        height, width = max(picture.shape[0], LEAST_HEIGHT), max(picture.shape[1], LEAST_WIDTH)
        line = max(64, height // 9)  # of text
        strip = line * (1 if decision.truth is None else 2)
        size = line / 58
        image = np.full((height + strip, width, 3), GROUND, np.uint8)
        top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
        image[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        if left:
            # a frame around the frame: what lies beside it is no part of it
            end = (left + picture.shape[1], top + picture.shape[0])
            cv2.rectangle(image, (left - 1, top - 1), end, PALE, 1)
        colour = COLOURS[decision.source]
        image[height : height + 3] = colour
        middle = height + 2 + line // 2
        place = "capped" if decision.capped else PLACES[decision.source].format(decision.exit)
        _tag(image, place, width - int(12 * size) - _tag_width(place, size), middle, size, colour)
        margin, drop = int(16 * size), int(11 * size)
        wrong = is_wrong(decision)
        told = "{} {:.0f}%".format(decision.label, 100 * decision.confidence)
        _text(image, told, margin, middle + drop, 0.9 * size, WRONG if wrong else WHITE)
        if decision.truth is not None:
            told = "wrong: it is {}".format(self._bundle.label_name(decision.truth)) if wrong else "correct"
            _text(image, told, margin, middle + line + drop - line // 6, 0.8 * size, WRONG if wrong else PALE)
        if shot.attacked:
            _tag(image, "attacked", int(12 * size), int(30 * size), size, ATTACK)
        if decision.quantised:
            _tag(image, "DefQ", width - int(12 * size) - _tag_width("DefQ", size), int(30 * size), size, DEFQ)
        return _encoded(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])

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


def is_wrong(decision: Decision) -> bool:
    """Whether the frame's class is known and the decision names another."""
    return decision.truth is not None and bool(decision.truth != decision.label_id)


def _for_page(pixels: np.ndarray) -> Tuple[np.ndarray, int]:
    """A BGR copy of a size for the page, and the JPEG quality that it needs.

    Large frames shrink until the longer side is at most LONGEST. Small ones grow by a whole number, each pixel to a square
    with sharp edges, so that nothing is shown that the camera did not see.
    """
    height, width = pixels.shape[:2]
    times = min(ENLARGED_HEIGHT // height, LONGEST // width)
    quality = JPEG_QUALITY
    if times >= 2:
        pixels = np.repeat(np.repeat(pixels, times, axis=0), times, axis=1)
        quality = SHARP_QUALITY
    elif max(height, width) > LONGEST:
        scale = LONGEST / max(height, width)
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    grey = pixels.ndim == 2 or pixels.shape[2] == 1
    image: np.ndarray = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if grey else cv2.COLOR_RGB2BGR)
    return image, quality


def _text(image: np.ndarray, text: str, x: int, base: int, size: float, colour: Tuple[int, int, int]) -> None:
    # OpenCV's own font has ASCII alone
    cv2.putText(
        image, text.encode("ascii", "replace").decode(), (x, base), FONT, size, colour, _thickness(size), cv2.LINE_AA
    )


def _thickness(size: float) -> int:
    """Of the strokes: large pictures are shown smaller than they are."""
    return 2 if size > 0.9 else 1


def _tag(image: np.ndarray, text: str, x: int, middle: int, size: float, colour: Tuple[int, int, int]) -> None:
    """Dark text on a patch of colour."""
    half, rise = int(18 * size), int(8 * size)
    cv2.rectangle(image, (x, middle - half), (x + _tag_width(text, size), middle + half), colour, cv2.FILLED)
    _text(image, text, x + int(9 * size), middle + rise, 0.7 * size, (20, 20, 20))


def _tag_width(text: str, size: float) -> int:
    return int(cv2.getTextSize(text, FONT, 0.7 * size, _thickness(0.7 * size))[0][0]) + int(18 * size)


def _encoded(image: np.ndarray, suffix: str, settings: List[int]) -> bytes:
    """BGR or grey, uint8 -> the bytes of an image file."""
    content: bytes = cv2.imencode(suffix, image, settings)[1].tobytes()
    return content
