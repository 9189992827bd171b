"""The ceiling that bundles give to cameras: what it costs clean test images, what it lets through at worst, and its time in the loop."""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.measure import table
from bench.subject import Subject
from device.bundle.reader import Bundle
from device.defence.budget import ByteBudget
from device.defence.ceiling import Ceiling, CeilingSettings
from device.defence.controller import DEFENCES
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.loop.windows import Windows
from export.bundle.ceiling import SCENE, Stays, answers_of, lost_by
from export.data import datasets
from export.networks.model_files import find

IMAGES = 2000
"""Test images, at most."""
FRAMES = 10000
"""Of the attacker's stream."""
ROUNDS = 9


def run(subjects: list[Subject]) -> dict[str, Any]:
    """Figures for each mode and relative accuracy drop that a bundle has a ceiling for, and microseconds of processor time a frame."""
    results: dict[str, Any] = {"us": _times_us(), "modes": []}
    for subject in subjects:
        bundle = subject.bundle
        if not subject.trained or not bundle.ceiling:
            continue
        pixels, engine = _test_pixels(subject.name, bundle), OnnxRuntimeEngine(bundle)
        for rad, settings in bundle.ceiling.items():
            for mode, kind in DEFENCES.items():
                if mode in settings.shares and not kind.missing(bundle):
                    stays = answers_of(engine, kind(bundle, rad), pixels)
                    about = {"model": subject.name, "rad": rad, "mode": mode, "images": len(pixels)}
                    results["modes"].append({**about, **_figures(bundle, rad, settings, mode, stays)})
        engine.close()
    return results


def _test_pixels(name: str, bundle: Bundle) -> np.ndarray:
    about = find(name).description
    size = bundle.input_shape[1:]
    data = datasets.given(None, size, about.fit, about.group, source=about.data_source, download=False)
    return data.test.pixels[:IMAGES]


def _figures(bundle: Bundle, rad: int, settings: CeilingSettings, mode: str, stays: Stays) -> dict[str, Any]:
    """What the ceiling of one mode costs and lets through."""
    share, classes = settings.shares[mode], len(bundle.labels)
    one, threshold = CeilingSettings({"": share}, settings.gain), bundle.threshold(rad)
    lost, in_scenes = (lost_by(stays, one, threshold, classes, length) for length in (1, SCENE))
    ceiling, windows, sent = Ceiling(threshold, classes, one), Windows(), 0
    for frame in range(2 * FRAMES):
        attacked = frame >= FRAMES  # the first frames leave, so that the attack meets a full budget
        may = attacked and ceiling.admits(1 / classes, threshold)
        ceiling.count(may, "")
        windows.add(may)
        sent += may
    return {
        "share": share, "stays": float(stays.stays.mean()), "lost": lost, "lost_in_scenes": in_scenes, "sent": sent / FRAMES,
        "most_sent": dict(zip(windows.lengths, windows.most, strict=True)),
        "bound": {length: ceiling.bound(length) for length in (*windows.lengths, FRAMES)},
    }  # fmt: skip


def _times_us() -> dict[str, float]:
    """Microseconds of processor time of a frame that leaves and of one that stays, with and without a bound in bytes: medians of ROUNDS."""
    times: dict[str, float] = {}
    for name, in_bytes in (("frames", False), ("frames and bytes", True)):
        for stay in (False, True):
            times[f"{name}, {'stays' if stay else 'leaves'}"] = statistics.median(_rounds_us(in_bytes, stay))
    return times


def _rounds_us(in_bytes: bool, stay: bool) -> Iterator[float]:
    for _ in range(ROUNDS):
        budget = ByteBudget(10**9, 10**9, 10**5) if in_bytes else None
        ceiling, windows = Ceiling(0.76, 10, CeilingSettings({"off": 0.5}), budget), Windows()
        started = time.process_time()
        for _ in range(FRAMES):
            sent = stay and ceiling.admits(0.3, 0.76)
            ceiling.count(sent, "off")
            windows.add(sent)
        yield (time.process_time() - started) / FRAMES * 1e6


def report(results: dict[str, Any]) -> str:
    rows = [["network, RAD, mode", "ceiling", "clean frames that stay", "of all clean frames not sent", "the same, scenes of 15 frames",
             "sent by the worst attacker", "most of 100 (bound)", "most of 1,000 (bound)"]]  # fmt: skip
    for each in results["modes"]:
        most, bound = each["most_sent"], each["bound"]
        rows.append([
            f"{each['model']}, {each['rad']} %, {each['mode']}", f"{each['share']:.2f}", f"{each['stays']:.3f}", f"{each['lost']:.4f}",
            f"{each['lost_in_scenes']:.3f}", f"{each['sent']:.4f}", *(f"{most[length]} ({bound[length]})" for length in most),
        ])  # fmt: skip
    times = ", ".join(f"{name} {value:.2f}" for name, value in results["us"].items())
    return f"{table(rows)}\n\nmicroseconds of processor time a frame: {times}"
