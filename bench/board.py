"""What the owner of a board notices: the start, the memory, the whole loop compared to ONNX Runtime alone, and the cost of
waiting for frames."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.head import session
from bench.measure import table
from bench.subject import Subject
from device.bundle.reader import Bundle
from device.cameras.arrays import ArrayCamera
from device.defence.controller import Controller
from device.defence.quantised import Quantised
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.loop.pipeline import Pipeline
from device.loop.sinks import JsonLinesSink
from export.bundle.comparison_frames import comparison_frames
from export.evaluation.timing import interleaved

FRAMES = 200
LOOP_FRAMES = 50
STARTS = 5
RATE = 15
IDLE_S = 5.0


def run(subjects: list[Subject]) -> dict[str, Any]:
    """For every network: seconds to the first decision (and of importing the libraries alone), peak megabytes of the
    process, the time of the whole loop beside DefQ and bare ONNX Runtime, and the share of a core that a source
    of 15 frames a second takes, and that of its frames alone."""
    return {subject.name: _run_one(subject) for subject in subjects}


def _run_one(subject: Subject) -> dict[str, Any]:
    bundle, folder = subject.bundle, subject.folder
    pixels, _ = comparison_frames(None, bundle.input_shape[1:], FRAMES)
    with tempfile.TemporaryDirectory() as work:
        frames = Path(work) / "frames.npz"
        np.savez(frames, frames=pixels)
        starts, imports = [], []
        for _ in range(STARTS):
            starts.append(_first_decision_s(folder, frames))
            imports.append(_spent_s([sys.executable, "-c", "import numpy, cv2, onnxruntime"]))
        return {
            "first_decision_s": statistics.median(starts),
            "imports_s": statistics.median(imports),
            "peak_mb": peak_mb(folder, frames),
            "loop_us": _loop(bundle, pixels, Path(work)),
            **_waiting(bundle, pixels),
        }


def _device(folder: Path, frames: Path) -> list[str]:
    return [sys.executable, "-m", "device", "run", "--bundle", str(folder), "--source", f"npz:{frames}",
            "--threads", "1", "--jsonl", "-"]  # fmt: skip


def _first_decision_s(folder: Path, frames: Path) -> float:
    return _spent_s([*_device(folder, frames), "--frames", "1"])


def _spent_s(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def peak_mb(folder: Path, frames: Path) -> float:
    """Largest resident memory in MB of a run over all frames. The process reads it itself, because what the kernel tells the
    parent includes the memory of the parent."""
    program = "import sys, device.system.board, device.commands.cli; device.commands.cli.main(); print(device.system.board.process_rss_mb().peak_mb)"
    options = _device(folder, frames)[3:-1]
    command = [sys.executable, "-c", program, *options, os.devnull]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(done.stdout)


def _loop(bundle: Bundle, pixels: np.ndarray, work: Path) -> dict[str, dict[str, float]]:
    """Microseconds a frame of the head alone on prepared images, of DefQ and the head, and of the loop with DefQ and a JSON line,
    for frames that leave at exit 1, for the bundle's threshold, and for frames that stay."""
    thresholds = {"exit 1": 0.0, "threshold": bundle.threshold(bundle.default_rad), "stays": 2.0}
    return {name: _loop_at(bundle, pixels[:LOOP_FRAMES], threshold, work) for name, threshold in thresholds.items()}


def _loop_at(bundle: Bundle, pixels: np.ndarray, threshold: float, work: Path) -> dict[str, float]:
    defence = Quantised(bundle, bundle.default_rad, threshold)
    images = [defence.treat(frame).image.copy() for frame in pixels]
    head = session(bundle.read("head"))
    given = np.full(1, threshold, np.float32)

    def bare() -> None:
        for image in images:
            head.run(None, {"image": image, "threshold": given})

    def with_defq() -> None:
        for frame in pixels:
            head.run(None, {"image": defence.treat(frame).image, "threshold": given})

    def whole(pipeline: Pipeline) -> None:
        pipeline.run(ArrayCamera(pixels))

    sink = JsonLinesSink(str(work / "out.jsonl"))
    pipeline = Pipeline(bundle, OnnxRuntimeEngine(bundle, 1), Controller(bundle, threshold=threshold), None, sink)
    times = interleaved(
        {"bare": bare, "with DefQ": with_defq, "loop": partial(whole, pipeline)}, rounds=15, clock=time.thread_time
    )
    sink.close()
    return {name: us / len(images) for name, us in times.items()}


def _waiting(bundle: Bundle, pixels: np.ndarray) -> dict[str, float]:
    """CPU time of the process at RATE frames a second, as a share of one core, and the part of it that the frames took."""
    pipeline = Pipeline(bundle, OnnxRuntimeEngine(bundle), Controller(bundle))
    pipeline.run(ArrayCamera(pixels))
    cpu_s = time.process_time()
    pipeline.run(ArrayCamera(pixels))
    frame_s = (time.process_time() - cpu_s) / len(pixels)
    camera = ArrayCamera(pixels, loop=True, rate=RATE)
    started_s, cpu_s = time.perf_counter(), time.process_time()
    pipeline.run(camera, int(RATE * IDLE_S))
    spent_s = time.perf_counter() - started_s
    return {
        "cpu_share": (time.process_time() - cpu_s) / spent_s,
        "frames_cpu_share": frame_s * RATE * IDLE_S / spent_s,
    }


def report(results: dict[str, Any]) -> str:
    rows = [["", "first decision s (imports alone)", "peak MB", f"CPU at {RATE} frames/s (its frames alone)"]]
    loops = [
        [
            "one thread, µs of processor time a frame",
            "frames",
            "bare head",
            "DefQ + head",
            "whole loop",
            "loop / (DefQ + head)",
        ]
    ]
    for model, each in results.items():
        rows.append(
            [
                model,
                f"{each['first_decision_s']:.2f} ({each['imports_s']:.2f})",
                f"{each['peak_mb']:.0f}",
                f"{each['cpu_share']:.1%} ({each['frames_cpu_share']:.1%})",
            ]
        )
        for name, times in each["loop_us"].items():
            cells = [f"{times[form]:.0f}" for form in ("bare", "with DefQ", "loop")]
            loops.append([model, name, *cells, f"{times['loop'] / times['with DefQ']:.2f}"])
    return table(rows) + "\n\n" + table(loops)
