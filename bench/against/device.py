"""The device of the comparison, one process for a network: python -m bench.against.device FOLDER, orders on stdin.

An order is a line of JSON, {"contender", "share", "attacked", "start", "step", "limit_s", "urls": {folder: URL}}, or {"costs": true}; so is its answer.
share: of this machine's speed (bench/against/slower.py). cpu_ms is not slowed: it is the processor time of this machine.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from bench.against.contenders import CONTENDERS, JPEG, SPLIT_PLAIN, WHOLE, Contender
from bench.against.slower import Pace, SlowedEngine
from device.bundle.frame_set import load_frame_set
from device.bundle.reader import load_bundle
from device.cameras.arrays import ArrayCamera
from device.cameras.base import Frame
from device.defence.controller import Controller
from device.engines.onnx_runtime import OnnxRuntimeEngine, session_options
from device.link.connection import Connection
from device.link.deadline import Deadline
from device.link.endpoint import endpoint_of
from device.link.host_client import HostClient
from device.loop.pipeline import Pipeline
from device.loop.sinks import Decision, Sink
from device.planning.costs import JPEG_QUALITY, measure_costs

WARM_UP = 10
LEAST = 6
PATIENCE_S = 30.0
NEVER = 2.0
PAYLOADS = {"split": "coefficients", "plain": "uint8"}
"""Frames that are not quantised have no coefficients, and go as uint8."""


class Kept(Sink):
    """The decisions of a window, with the milliseconds from a frame's hand-over to its decision at the device's pace."""

    def __init__(self, camera: "Until", pace: Pace) -> None:
        self.decisions: list[Decision] = []
        self.ms: list[float] = []
        self._camera = camera
        self._pace = pace

    def write(self, decision: Decision, frame: Frame, pixels: np.ndarray) -> None:
        self._pace.catch_up()
        self.decisions.append(decision)
        self.ms.append((time.perf_counter() - self._camera.given_s) * 1e3)


class Until(ArrayCamera):
    """Frames until a time, but at least LEAST."""

    given_s = 0.0
    until_s = float("inf")

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, pace: Pace) -> None:
        super().__init__(pixels, labels)
        self._pace = pace

    def read(self) -> Frame | None:
        frame = None if self._next >= LEAST and time.perf_counter() > self.until_s else super().read()
        self._pace.start()
        self.given_s = time.perf_counter()
        return frame


class Device:
    """Everything that runs on the device, loaded once."""

    def __init__(self, folder: Path) -> None:
        self.bundles = {name: load_bundle(str(folder / name)) for name in ("all", "split", "plain")}
        self.pace = Pace()
        self.engines = {name: OnnxRuntimeEngine(bundle, 1) for name, bundle in self.bundles.items()}
        self.frames = load_frame_set(self.bundles["all"])
        options = session_options(1)
        self.whole = onnxruntime.InferenceSession(
            str(folder / "whole.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._clients: dict[str, HostClient] = {}
        self._connections: dict[str, Connection] = {}

    def window(self, order: dict[str, Any]) -> dict[str, Any]:
        """Milliseconds of each frame, bytes sent, processor milliseconds, right answers, frames behind DefQ, fallbacks, payload forms."""
        self.pace.share = order["share"]
        contender = next(each for each in CONTENDERS if each.name == order["contender"])
        pixels = self.frames.attacked if order["attacked"] else self.frames.clean
        some = slice(order["start"], None, order["step"])
        run = self._alone if contender in (WHOLE, JPEG) else self._in_the_loop
        return run(contender, pixels[some], self.frames.labels[some], order)

    def costs(self) -> dict[str, Any]:
        return measure_costs(self.bundles["all"], self.engines["all"], self.frames).to_json()

    def _in_the_loop(
        self, contender: Contender, pixels: np.ndarray, labels: np.ndarray, order: dict[str, Any]
    ) -> dict[str, Any]:
        """With the loop of defq run."""
        name = "plain" if contender is SPLIT_PLAIN else contender.where.replace("device", "all")
        bundle = self.bundles[name]
        threshold = None if contender.exits else NEVER
        if contender.defq:
            controller = Controller.of(bundle, bundle.default_rad, "auto", False, 0)
        else:
            controller = Controller(bundle, bundle.default_rad, "off", threshold=threshold)
        engine, client = SlowedEngine(self.engines[name], self.pace), self._client(name, order["urls"].get(name))
        warm, camera = (
            Until(each, some, self.pace) for each, some in ((pixels[:WARM_UP], labels[:WARM_UP]), (pixels, labels))
        )
        Pipeline(bundle, engine, controller, client, Kept(warm, self.pace)).run(warm)
        sink = Kept(camera, self.pace)
        started_s = time.process_time()
        camera.until_s = time.perf_counter() + order["limit_s"]
        Pipeline(bundle, engine, controller, client, sink).run(camera)
        cpu_ms = (time.process_time() - started_s) * 1e3
        done = sink.decisions
        return {
            "ms": sink.ms, "bytes": sum(each.bytes_sent for each in done), "cpu_ms": cpu_ms,
            "right": sum(each.label_id == each.truth for each in done),
            "quantised": sum(each.quantised for each in done),
            "fallback": sum(each.source == "fallback" for each in done), "payload": sorted({each.payload for each in done if each.payload}),
        }  # fmt: skip

    def _client(self, name: str, url: str | None) -> HostClient | None:
        if url is None:
            return None
        if url not in self._clients:
            bundle = self.bundles[name]
            threshold = bundle.threshold(bundle.default_rad)
            self._clients[url] = HostClient(url, bundle, threshold, 1, PATIENCE_S, PAYLOADS[name])
            self._clients[url].check()
        return self._clients[url]

    def _alone(
        self, contender: Contender, pixels: np.ndarray, labels: np.ndarray, order: dict[str, Any]
    ) -> dict[str, Any]:
        """Without exits: the whole network here, or a JPEG to the host."""
        url = order["urls"].get("jpeg")
        for each in pixels[:WARM_UP]:
            self._one(contender, each, url)
        spent: list[float] = []
        sent = right = 0
        started_s, cpu_s = time.perf_counter(), time.process_time()
        for each, label in zip(pixels, labels, strict=True):
            self.pace.start()
            before_s = time.perf_counter()
            if len(spent) >= LEAST and before_s - started_s > order["limit_s"]:
                break
            found, size = self._one(contender, each, url)
            spent.append((time.perf_counter() - before_s) * 1e3)
            sent, right = sent + size, right + (found == label)
        cpu_ms = (time.process_time() - cpu_s) * 1e3
        return {
            "ms": spent,
            "bytes": sent,
            "cpu_ms": cpu_ms,
            "right": int(right),
            "quantised": 0,
            "fallback": 0,
            "payload": ["JPEG"] if sent else [],
        }

    def _one(self, contender: Contender, pixels: np.ndarray, url: str | None) -> tuple[int, int]:
        """Label, and bytes sent."""
        if contender is WHOLE:
            image = pixels.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
            label = int(self.whole.run(["label"], {"image": image})[0][0])
            self.pace.catch_up()
            return label, 0
        assert url is not None
        body = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
        endpoint = endpoint_of(url)
        if url not in self._connections:
            self._connections[url] = Connection(endpoint)
        head = f"POST / HTTP/1.1\r\nHost: {endpoint.authority}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        request = head.encode() + body
        self.pace.catch_up()
        answer = self._connections[url].exchange(request, Deadline.after(PATIENCE_S))
        self.pace.catch_up()
        return int(answer.body), len(request)


def main() -> None:
    cv2.setNumThreads(1)
    device = Device(Path(sys.argv[1]))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(device.costs() if order.get("costs") else device.window(order)), flush=True)


if __name__ == "__main__":
    main()
