"""A fleet of cameras in Locust, for one window of time: python -m bench.fleet.generator TRACE --url URL --devices N.

Open loop: a camera takes frames at its rate whether or not answers come, and a frame's latency counts from when it was
taken. So a host that falls behind shows as growing latency; it does not slow the cameras down (coordinated omission).
Prints one line of JSON, a Step of bench/fleet/search.py. A process of its own, because Locust replaces the sockets and
threads of the standard library by gevent's; under these the device's own Connection speaks to the host.
"""

import argparse
import http.client
import itertools
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from gevent.lock import BoundedSemaphore
from locust import User, constant
from locust.env import Environment

from bench.fleet.trace import load
from device.errors import HostError
from device.link.connection import Connection
from device.link.deadline import Deadline
from device.link.endpoint import Endpoint, endpoint_of

CONNECTIONS = 4  # of a device, and
PATIENCE_S = 2.0  # its patience with an answer: the defaults of defq run


class Window:
    """What all cameras of the fleet share: when to measure, and the figures of frames taken in that time."""

    def __init__(self, opens_s: float, closes_s: float) -> None:
        self.opens_s, self.closes_s = opens_s, closes_s  # time.perf_counter()
        self.latencies_s: list[float] = []
        self.lags_s: list[float] = []
        self.failures: dict[str, int] = {}
        self.frames = self.under_way = 0

    def holds(self, taken_s: float) -> bool:
        return self.opens_s <= taken_s < self.closes_s

    def failed(self, reason: str) -> None:
        self.failures[reason] = self.failures.get(reason, 0) + 1

    def figures(self) -> dict[str, Any]:
        """What was counted, JSON-ready."""
        return {
            "frames": self.frames, "answered": len(self.latencies_s), "failures": self.failures,
            "latency_ms": _percentiles(self.latencies_s), "lag_ms": _percentiles(self.lags_s),
        }  # fmt: skip


class CameraUser(User):
    """One device: a camera with its own phase, at its own place in the trace, and the device's connections."""

    wait_time = constant(0)
    requests: list[bytes | None]
    endpoint: Endpoint
    window: Window
    rate: float
    tokens: tuple[str, ...] = ()  # by which the host tells devices from one another; none: all are one client to it
    numbers = itertools.count()

    def on_start(self) -> None:
        number = next(self.numbers)
        self._token = self.tokens[number] if self.tokens else ""
        chance = random.Random(number)  # the same fleet in every run
        self._place = chance.randrange(len(self.requests))
        self._next_s = time.perf_counter() + chance.random() / self.rate
        self._free = BoundedSemaphore(CONNECTIONS)
        self._idle: list[Connection] = []

    def take(self) -> None:
        """Wait for the next frame's time and send the frame on its way, unless it leaves on the device."""
        taken_s = self._next_s
        self._next_s += 1 / self.rate
        gevent.sleep(max(0.0, taken_s - time.perf_counter()))
        self._place = (self._place + 1) % len(self.requests)
        request = self.requests[self._place]
        if self.window.holds(taken_s):
            self.window.frames += 1
        if request is not None and taken_s < self.window.closes_s:
            gevent.spawn(self._ask, request, taken_s)

    tasks = [take]  # noqa: RUF012 (as Locust wants it)

    def _ask(self, request: bytes, taken_s: float) -> None:
        window, counts = self.window, self.window.holds(taken_s)
        window.under_way += 1
        # a frame that finds no free connection waits for the host, not for this program
        if counts and not self._free.locked():
            window.lags_s.append(time.perf_counter() - taken_s)
        reason = ""
        with self._free:
            connection = self._idle.pop() if self._idle else Connection(self.endpoint)
            try:
                answer = connection.exchange(with_token(request, self._token), Deadline(taken_s + PATIENCE_S))
                if answer.status != 200:
                    reason = f"status {answer.status}"
            except (OSError, http.client.HTTPException, HostError) as error:
                reason = type(error).__name__
                connection.close()
            self._idle.append(connection)
        latency_s = time.perf_counter() - taken_s
        window.under_way -= 1
        if counts and reason:
            window.failed(reason)
        elif counts:
            window.latencies_s.append(latency_s)
        self.environment.events.request.fire(
            request_type="POST", name="infer", response_time=latency_s * 1e3, response_length=0,
            exception=RuntimeError(reason) if reason else None, context={},
        )  # fmt: skip


def with_token(request: bytes, token: str) -> bytes:
    """A recorded request as a device with this token sends it."""
    if not token:
        return request
    first, rest = request.split(b"\r\n", 1)
    return first + f"\r\nAuthorization: Bearer {token}\r\n".encode() + rest


def play(requests: list[bytes | None], url: str, devices: int, rate: float, warm_up_s: float, seconds: float) -> dict[str, Any]:  # fmt: skip
    """Run a fleet and give the figures of a Step.

    Args:
        requests: of a trace.
        rate: frames a second of each camera.
        warm_up_s: time for connections and batches to settle; frames taken in it do not count.
    """
    started_s = time.perf_counter()
    window = Window(started_s + warm_up_s, started_s + warm_up_s + seconds)
    CameraUser.requests, CameraUser.endpoint, CameraUser.window = requests, endpoint_of(url), window
    CameraUser.rate = rate
    cpu = run_window([CameraUser], devices, [window])
    return {"devices": devices, "seconds": seconds, **window.figures(), "generator_cpu": cpu}


def run_window(users: list[type[CameraUser]], devices: int, windows: list[Window]) -> float:
    """Run devices of the given kinds until their windows close and the frames in them are answered.

    Args:
        devices: of all kinds together.
        windows: of the kinds; they open and close at the same time.

    Returns:
        the share of a core that this program took.
    """
    window = windows[0]
    environment = Environment(user_classes=list(users), catch_exceptions=False)
    runner = environment.create_local_runner()
    runner.start(devices, spawn_rate=devices)
    gevent.sleep(window.opens_s - time.perf_counter())
    cpu_s = time.process_time()
    gevent.sleep(window.closes_s - time.perf_counter())
    cpu_s = time.process_time() - cpu_s
    runner.stop()
    patience = gevent.Timeout.start_new(PATIENCE_S + 1, exception=False)
    while any(each.under_way for each in windows):  # frames taken in a window count however late their answers are
        gevent.sleep(0.01)
        if not patience.pending:
            break
    patience.close()
    runner.quit()
    for each in windows:
        for _ in range(each.under_way):
            each.failed("no answer")
    return cpu_s / (window.closes_s - window.opens_s)


def _percentiles(seconds: list[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    return dict(zip(("p50", "p99", "max"), (np.percentile(seconds, (50, 99, 100)) * 1e3).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet.generator")
    add = parser.add_argument
    add("trace", type=Path)
    add("--url", required=True)
    add("--devices", type=int, required=True)
    add("--rate", type=float, default=15)
    add("--warm-up", type=float, default=2, metavar="S")
    add("--seconds", type=float, default=10, metavar="S")
    add("--core", type=int, help="run on this one alone")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    requests = load(arguments.trace).requests
    figures = play(requests, arguments.url, arguments.devices, arguments.rate, arguments.warm_up, arguments.seconds)
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
