"""The cost of the device loop beside resizing, DefQ and ONNX Runtime."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import table
from bench.subject import Subject
from device.cameras.base import Camera, Frame
from device.defence.controller import Controller
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.loop.pipeline import Pipeline
from device.loop.sinks import JsonLinesSink

FRAMES = 2000


class _Repeat(Camera):
    """Gives the same four frames of 640 x 480 pixels again and again, at no cost."""

    def __init__(self) -> None:
        super().__init__()
        generator = np.random.default_rng(0)
        self._frames = [np.clip(generator.normal(128, 40, (480, 640, 3)), 0, 255).astype(np.uint8) for _ in range(4)]
        self._next = 0

    def read(self) -> Frame:
        index = self._next
        self._next += 1
        return Frame(index, self._frames[index % 4], None, 0.0)


def run(subjects: list[Subject]) -> dict[str, Any]:
    """Microseconds for a frame that leaves at exit 1: of the three stages, and of everything else in the loop, JSON line
    included."""

    results = {}
    for subject in subjects:
        bundle = subject.bundle
        with tempfile.TemporaryDirectory() as folder:
            sink = JsonLinesSink(str(Path(folder) / "out.jsonl"))
            pipeline = Pipeline(bundle, OnnxRuntimeEngine(bundle, 1), Controller(bundle, threshold=0.0), None, sink)
            camera = _Repeat()
            pipeline.run(camera, 200)
            overheads, stages = [], []
            for _ in range(10):
                before = _spent_us(pipeline)
                started = time.perf_counter()
                pipeline.run(camera, FRAMES // 10)
                whole = (time.perf_counter() - started) * 1e6
                spent = _spent_us(pipeline) - before
                overheads.append((whole - spent) / (FRAMES // 10))
                stages.append(spent / (FRAMES // 10))
            sink.close()
        results[subject.name] = {"stages_us": float(np.median(stages)), "overhead_us": float(np.median(overheads))}
    return results


def _spent_us(pipeline: Pipeline) -> float:
    """Microseconds that all frames so far spent in the stages resize, DefQ and head."""
    figures = pipeline.summary.to_dict()
    return float(sum(figures["stage_ms"][name] for name in ("resize", "defq", "head")) * figures["frames"] * 1e3)


def report(results: dict[str, Any]) -> str:
    rows = [["640x480 frames, one thread", "resize + DefQ + head µs", "everything else µs"]]
    rows += [[model, f"{each['stages_us']:.0f}", f"{each['overhead_us']:.0f}"] for model, each in results.items()]
    return table(rows)
