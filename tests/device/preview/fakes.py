"""What the tests of the preview share: a loop of frames, an attacker, a monitor, and a client."""

import http.client
import json
import threading
import time

import numpy as np
import pytest

from device.cameras.base import Camera, Frame
from device.loop.sinks import Decision
from device.preview.attackers import Attacker
from device.preview.preview_sink import Shot

TOKEN = "a-token-of-the-tests"


class FakeMonitor:
    """As device.monitor.Monitor, without its arithmetic."""

    attacked = learning = False
    alarms = 0

    def see(self, exit_, quantised):
        return False

    def settle(self):
        pass


class Inverted(Attacker):
    kind = "twin"

    def __call__(self, frame, pixels):
        return 255 - pixels

    def describe(self):
        return "inverted frames"


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self):
        return self.now


def decision(
    number=1,
    exit_=1,
    source="edge",
    sent=0,
    truth=None,
    label=0,
    total=2.0,
    quantised=False,
    found=None,
    payload=None,
    capped=False,
):
    return Decision(
        number, label, "circle", 0.75, exit_, source, {"total": total}, sent, truth, quantised, found, payload, capped
    )


def shot(number=1, pixels=None, seen=None, attacked=False, **fields):
    pixels = np.full((16, 16, 3), 100, np.uint8) if pixels is None else pixels
    frame = Frame(number, pixels, None, 0.0)
    return Shot(number, decision(number, **fields), frame, pixels if seen is None else seen, attacked)


def write(sink, count, **fields):
    for _ in range(count):
        sink.write(decision(**fields), Frame(0, np.zeros((2, 2, 3), np.uint8), None, 0.0), None)


class Loop(Camera):
    """Frames over and over until it is told to end."""

    def __init__(self, frames):
        super().__init__()
        self.ended = threading.Event()
        self.dropped = 3
        self._frames = frames
        self._next = 0

    def describe(self):
        return "frames of the tests"

    def read(self):
        if self.ended.wait(0.005):
            return None
        self._next += 1
        return Frame(self._next, self._frames[self._next % len(self._frames)], 0, time.monotonic())


def until(found):
    """Wait for something that ``found`` returns."""
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    pytest.fail("did not happen within 5 s")


def ask(server, path, method="GET", body=None, host=None, **headers):
    """Status, headers and body of an answer. Names of headers have _ for -."""
    address = server.server_address[0]
    connection = http.client.HTTPConnection(
        "127.0.0.1" if address == "0.0.0.0" else address, server.server_port, timeout=5
    )
    try:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if host is not None:
            headers["Host"] = host
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def switch(server, wanted, **headers):
    status, _, body = ask(server, "/switch", "POST", json.dumps(wanted), X_Preview="1", **headers)
    return status, json.loads(body.decode())
