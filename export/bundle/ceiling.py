"""The ceiling that a bundle gives to cameras: what share of the frames may go to the host, measured on clean calibration images.

Clean frames that stay come in clusters by chance, and the level (device/defence/ceiling.py) falls within a cluster. With a share
that is no larger than the share of clean frames that stay, the level would wander, and many clean frames would not be sent. So
the share has a margin, and the margin is what it takes: the smallest at which clean frames lose at most MOST_LOST. It is never
less than two standard errors of the share of clean frames that stay, which a sample of images does not tell exactly.
"""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from device.bundle.reader import load_bundle
from device.defence.base import Defence
from device.defence.ceiling import GAIN, Ceiling, CeilingSettings
from device.defence.controller import AUTO, DEFENCES, ON_TWIN
from device.engines.onnx_runtime import OnnxRuntimeEngine
from export.data.images import Images

MOST_LOST = 0.008
"""Share of all clean frames that stay and are not sent because of the ceiling, at most. The aim is 0.01; the rest is left for what
the calibration images do not show: of 2,000 images the share that stays is known to within 0.01, which moves the loss by 0.001."""
IMAGES = 2000
"""Calibration images that are shown to the head, at most."""
PASSES = 10
"""How often these images are played, each time in another order."""
SCENE = 15
"""Frames in a row that show the same image, to tell what a ceiling costs a camera whose scene changes once a second. This is
recorded, and chooses nothing."""


class Stays(NamedTuple):
    """What a head makes of clean images behind one defence.

    stays: bool (images,). confidences: float (images,), of the exit where the image left, or of the last one on the device.
    thresholds: float (images,), the image's own.
    """

    stays: np.ndarray
    confidences: np.ndarray
    thresholds: np.ndarray


def ceiling_of(contents: Mapping[str, bytes], images: Images | None) -> dict[str, Any] | None:
    """The ceilings of a bundle for its manifest, JSON-ready; None without calibration images, or where no share below 1 costs
    clean frames as little as MOST_LOST.

    Args:
        contents: all files of the bundle, by their names. The bundle is read and run as a device does.
    """
    if images is None:
        print("the bundle has no ceiling: there are no calibration images to measure it on", flush=True)
        return None
    pixels = images.take(IMAGES).pixels
    modes: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            Path(folder, name).write_bytes(content)
        bundle = load_bundle(folder)
        engine = OnnxRuntimeEngine(bundle)
        for rad in bundle.thresholds:
            found = {
                mode: smallest_share(
                    answers_of(engine, kind(bundle, rad), pixels), bundle.threshold(rad), len(bundle.labels)
                )
                for mode, kind in DEFENCES.items()
                if not kind.missing(bundle)
            }
            # what auto is in peace; and the twin answers all frames on the device
            found[AUTO] = found[ON_TWIN] = found["off"]
            modes[str(rad)] = {mode: facts for mode, facts in found.items() if facts is not None}
        engine.close()
    default = modes[str(bundle.default_rad)]
    told = ", ".join(_told(mode, default[mode]) for mode in DEFENCES if mode in default) or "none"
    print(f"ceiling, RAD {bundle.default_rad} %: {told}", flush=True)
    return (
        {"gain": GAIN, "images": len(pixels), "most_lost": MOST_LOST, "modes": modes} if any(modes.values()) else None
    )


def answers_of(engine: OnnxRuntimeEngine, defence: Defence, pixels: np.ndarray) -> Stays:
    """What a head makes of images, uint8 (n, h, w, c), behind a defence."""
    answers = []
    for frame in pixels:
        treatment = defence.treat(frame)
        head = engine.run(treatment.image, treatment.threshold, treatment.fused)
        answers.append((head.activation is not None, head.confidence, treatment.threshold))
    return Stays(*(np.array(each) for each in zip(*answers, strict=True)))


def _told(mode: str, facts: Mapping[str, float]) -> str:
    return f"{mode} {facts['share']:.2f} ({facts['stays']:.3f} of clean frames stay, {facts['lost']:.3f} are not sent)"


def smallest_share(stays: Stays, threshold: float, classes: int) -> dict[str, float] | None:
    """The smallest share in hundredths at which clean frames lose at most MOST_LOST, with what it was found from; None where no
    share below 1 will do."""
    mean = float(stays.stays.mean())
    # the upper end of the interval of Agresti and Coull (1998), which is right for few images too
    count = len(stays.stays) + 4
    centre = (int(stays.stays.sum()) + 2) / count
    least = centre + 2 * math.sqrt(centre * (1 - centre) / count)
    low, high = min(99, math.ceil(100 * least) - 1), 100  # a share of 1 sends all
    lost = {high: 0.0}
    while high - low > 1:
        middle = (low + high) // 2
        lost[middle] = lost_by(stays, CeilingSettings({"": middle / 100}), threshold, classes)
        if lost[middle] <= MOST_LOST:
            high = middle
        else:
            low = middle
    if high == 100:
        return None
    in_scenes = lost_by(stays, CeilingSettings({"": high / 100}), threshold, classes, SCENE)
    return {
        "share": high / 100,
        "stays": round(mean, 4),
        "lost": round(lost[high], 4),
        "lost_in_scenes": round(in_scenes, 4),
    }


def lost_by(stays: Stays, settings: CeilingSettings, threshold: float, classes: int, run: int = 1) -> float:
    """Share of all clean frames that stay and that a ceiling does not send, over PASSES random orders of the images.

    Args:
        settings: with one share, of the mode "".
        threshold: L0.
        run: how many frames in a row show the same image, as in a video.
    """
    generator = np.random.default_rng(0)
    ceiling, lost = Ceiling(threshold, classes, settings), 0
    count = len(stays.stays)
    frames = list(zip(*(each.tolist() for each in stays), strict=True))
    warm = True  # a device that starts is not what is measured
    for order in [generator.permutation(count) for _ in range(PASSES + 1)]:
        for place in order.tolist():
            stay, confidence, own = frames[place]
            for _ in range(run):
                sent = stay and ceiling.admits(confidence, own)
                ceiling.count(sent, "")
                lost += stay and not sent and not warm
        warm = False
    return lost / (PASSES * count * run)
