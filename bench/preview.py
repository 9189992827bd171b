"""The cost of a viewer of the preview for the loop."""

import os
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

import cv2
import numpy as np

from bench.measure import table
from bench.subject import Subject
from device.bundle.reader import Bundle
from device.cameras.arrays import ArrayCamera
from device.defence.controller import Controller
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.loop.pipeline import Pipeline
from device.preview.preview import Preview
from device.preview.preview_sink import PreviewSink

FPS = 15
RATE = 15
ROUNDS = 15
ROUND_S = 2.0

# The part of a browser: it reads the stream, and asks four times a second for the figures and twice for the small pictures.
VIEWER = """
import http.client, os, sys, threading, time
os.sched_setaffinity(0, range(os.cpu_count()))
port = int(sys.argv[1])
def get(path, pause):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while True:
        connection.request("GET", path)
        connection.getresponse().read()
        time.sleep(pause)
for path, pause in (("/stats", 0.25), ("/view.png", 0.5)):
    threading.Thread(target=get, args=(path, pause), daemon=True).start()
connection = http.client.HTTPConnection("127.0.0.1", port)
connection.request("GET", "/stream.mjpg")
answer = connection.getresponse()
answer.read(1000)
print("watching", flush=True)
while answer.read(1 << 16):
    pass
"""


def run(subjects: list[Subject]) -> dict[str, Any]:
    """For every network and frames of 640 x 480: frames a second that the loop manages with one viewer (15 pictures a
    second), as a share of those without, on one core and on all; and what the viewer adds to the share of a core that a
    source of 15 frames a second takes. The viewer's own work is not on that core."""
    results: dict[str, Any] = {}
    for subject in subjects:
        bundle = subject.bundle
        results[subject.name] = {
            "one_core": _in_thread(bundle, {0}, None),
            "all_cores": _in_thread(bundle, set(range(os.cpu_count() or 1)), None),
            "at_15_a_second": _in_thread(bundle, {0}, RATE),
        }
    return results


def _in_thread(bundle: Bundle, cores: set[int], rate: float | None) -> dict[str, float]:
    """Measure in a thread that runs on ``cores`` only; the threads that it starts inherit this."""
    results: dict[str, float] = {}

    def work() -> None:
        os.sched_setaffinity(0, cores)
        results.update(_measured(bundle, rate))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results


def _measured(bundle: Bundle, rate: float | None) -> dict[str, float]:
    sink = PreviewSink(bundle.relative_costs, bundle.split)
    pipeline = Pipeline(bundle, OnnxRuntimeEngine(bundle, 1), Controller(bundle, threshold=0.0), None, sink)
    camera = ArrayCamera(_frames(), loop=True, rate=rate)
    server = Preview(pipeline, sink, {}, fps=FPS).serve(port=0)
    try:
        _spin(pipeline, camera)
        rounds = []
        for _ in range(ROUNDS):  # both take turns, so that a slow spell of the machine hits both
            without = _spin(pipeline, camera)
            viewer = subprocess.Popen([sys.executable, "-c", VIEWER, str(server.server_port)], stdout=subprocess.PIPE)
            try:
                assert viewer.stdout is not None
                ready = threading.Thread(target=viewer.stdout.readline)
                ready.start()
                while ready.is_alive():  # it waits for frames
                    pipeline.run(camera, 1)
                rounds.append((without, _spin(pipeline, camera)))
            finally:
                viewer.kill()
                viewer.communicate()
    finally:
        server.close()
    without_fps = statistics.median(without[0] for without, _ in rounds)
    core_share = statistics.median(without[1] for without, _ in rounds)
    ratio = statistics.median(with_[0] / without[0] for without, with_ in rounds)
    added = statistics.median(with_[1] - without[1] for without, with_ in rounds)
    return {"without_fps": without_fps, "ratio": ratio, "core_share": core_share, "added_core_share": added}


def _spin(pipeline: Pipeline, camera: ArrayCamera) -> tuple[float, float]:
    """Frames a second, and processor seconds a second, of one round."""
    started, cpu = time.perf_counter(), time.process_time()
    frames = 0
    while time.perf_counter() - started < ROUND_S:
        pipeline.run(camera, 5)
        frames += 5
    spent = time.perf_counter() - started
    return frames / spent, (time.process_time() - cpu) / spent


def _frames(count: int = 8) -> np.ndarray:
    """uint8 (count, 480, 640, 3): smooth patches with a camera's noise, which JPEG has some work with."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, 24, 32, 3), np.uint8)
    smooth = [cv2.resize(each, (640, 480), interpolation=cv2.INTER_CUBIC) for each in coarse]
    return np.clip(np.stack(smooth) + generator.normal(0, 3, (count, 480, 640, 3)), 0, 255).astype(np.uint8)


def report(results: dict[str, Any]) -> str:
    rows = [["640x480, one viewer, 15 pictures/s", "frames/s kept, one core", "frames/s kept, all cores",
             "added share of a core at 15 frames/s"]]  # fmt: skip
    rows += [
        [model, f"{each['one_core']['ratio']:.3f}", f"{each['all_cores']['ratio']:.3f}",
         f"{each['at_15_a_second']['added_core_share']:.3f} (to {each['at_15_a_second']['core_share']:.3f})"]
        for model, each in results.items()
    ]  # fmt: skip
    return table(rows)
