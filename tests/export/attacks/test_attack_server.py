"""The live attacker: what it makes, and what it does to odd requests. The device's own client talks to it."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn

from device.bundle.reader import load_bundle
from device.cameras.base import Frame
from device.errors import UsageError
from device.preview.attackers import RemoteAttack
from device.protocol.messages import HEADER_LENGTH, decode_response, encode_request
from export.attacks.base import uniformity_loss
from export.attacks.connections import MOST, BoundedProtocol
from export.attacks.linf import DeepSlothLinf
from export.attacks.server import AttackerFacts, FirstExits, LiveAttacker, config_of, make_app, serve
from export.networks.weights import to_tensor
from tests import tiny

ROOT = Path(__file__).resolve().parents[3]
INFER = "/v2/models/deepsloth/infer"
FACTS = AttackerFacts("tiny", 2, 5, "None")


@pytest.fixture(scope="module")
def network():
    return tiny.network()


class Running:
    """The application in a thread, on a free port."""

    def __init__(self, app):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = uvicorn.Server(config_of(app))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def ask(self, path=INFER, body=b"", method="POST", **headers):
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Content-Type": "application/octet-stream", **{k.replace("_", "-"): v for k, v in headers.items()}}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    @property
    def connections(self):
        return self._server.server_state.connections

    def stop(self):
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


@pytest.fixture(scope="module")
def running(network):
    server = Running(make_app(LiveAttacker(network, 2, 5), FACTS))
    yield server
    server.stop()


def request(frame, name="frame"):
    encoded = encode_request({name: frame}, ("frame", "frames_per_second"))
    return encoded.body, {HEADER_LENGTH: str(encoded.header_length)}


def test_first_exits_are_all_that_is_attacked_and_run(network):
    images = to_tensor(tiny.frames()[:3])
    first = FirstExits(network, 2)
    assert len(first.blocks) == 2
    torch.testing.assert_close(first.exits(images, len(first.blocks)), network(images)[:2])
    runs = []
    hook = network.blocks[2].register_forward_hook(lambda *_: runs.append(1))
    DeepSlothLinf(iterations=2)(first, images, progress=False)
    hook.remove()
    assert not runs


def test_frames_come_back_unsure_in_whole_levels_and_within_the_bound(network):
    frames = tiny.frames()[:20]
    attacker = LiveAttacker(network, 2, 20)
    attacked = np.concatenate([attacker(frame[None]) for frame in frames])
    assert attacked.dtype == np.uint8
    assert 1 <= np.abs(attacked.astype(int) - frames).max() <= 8  # 8/256 of the range, rounded

    def loss(pixels):
        with torch.no_grad():
            return uniformity_loss(network.exits(to_tensor(pixels), 2)).mean()

    def left(pixels):
        with torch.no_grad():
            return (network.exits(to_tensor(pixels), 2).softmax(-1).max(-1).values >= 0.62).any(0).float().mean()

    assert loss(attacked) < loss(frames)
    assert left(attacked) < 0.5 * left(frames)
    assert attacker.frames == 20
    assert attacker.frames_per_s > 0


def test_the_devices_client_gets_attacked_frames_and_the_rate(running, capfd):
    remote = RemoteAttack(running.url, timeout_s=10)
    remote.check(load_bundle(str(ROOT / "tests" / "device" / "data" / "tiny_bundle")))
    for pixels in tiny.frames()[:3]:
        attacked = remote(Frame(0, pixels, None, 0.0), pixels)
        assert 1 <= np.abs(attacked.astype(int) - pixels).max() <= 8
    remote.close()
    assert re.search(r"\(tiny, exits 1 to 2, 5 steps\): \d+\.\d frames/s", remote.describe())
    told = capfd.readouterr()
    assert "attacked 1 frames, now " in told.out
    assert told.err == ""


def test_answers_are_those_of_the_protocol(running):
    body, headers = request(tiny.frames()[:1])
    status, answer, content = running.ask(body=body, **headers)
    assert status == 200
    tensors = decode_response(content, int(answer[HEADER_LENGTH])).tensors
    assert tensors["frame"].shape == (1, 16, 16, 3)
    assert tensors["frames_per_second"].dtype == np.float32
    status, _, content = running.ask("/v2/models/deepsloth", method="GET")
    described = json.loads(content)
    assert described["parameters"] == {"model": "tiny", "split": 2, "steps": 5, "weights_sha256": "None"}
    assert described["inputs"] == [{"name": "frame", "datatype": "UINT8", "shape": [1, 16, 16, 3]}]


def _bad():
    frame = tiny.frames()[:1]
    body, headers = request(frame)
    yield "other size", 400, request(frame[:, :8])
    yield "two frames", 413, request(np.concatenate([frame] * 8))
    yield "other type", 400, request(frame.view(np.int8))
    yield "other name", 400, request(frame, "image")
    yield "cut off", 400, (body[:-5], headers)
    yield "no header length", 400, (body, {})
    yield "odd header length", 400, (body, {HEADER_LENGTH: "-1"})
    yield "garbage", 400, (b"\xff" * 100, {HEADER_LENGTH: "50"})
    yield "empty", 400, (b"", {})
    yield "too large", 413, (b"x" * 10000, headers)
    yield "length that is none", 400, (body, {**headers, "Content-Length": "many"})
    yield "from a web page", 415, (body, {**headers, "Content-Type": "text/plain"})
    yield "another name of this machine", 400, (body, {**headers, "Host": "evil.example"})


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (400, "Content-Length: many"),
        (413, "Content-Length: 100000"),
        (415, "Content-Type: text/plain\r\nContent-Length: 768"),
    ],
)
def test_a_client_that_still_sends_reads_why_it_was_refused(running, status, head):
    """Bytes that reach a closed socket reset the connection, and the client would lose its answer."""
    if "Content-Type" not in head:
        head += "\r\nContent-Type: application/octet-stream"
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as client:
        client.sendall(f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
        for _ in range(10):  # the first of these bytes meet the answer, and later ones would meet the reset
            time.sleep(0.02)
            client.sendall(b"x" * 64)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(("status", "sent"), [pytest.param(*each[1:], id=each[0]) for each in _bad()])
def test_odd_requests_are_refused(running, status, sent):
    body, headers = sent
    found, _, content = running.ask(body=body, **headers)
    assert found == status
    assert b"Traceback" not in content
    good, headers = request(tiny.frames()[:1])
    assert running.ask(body=good, **headers)[0] == 200


def test_a_body_without_end_is_cut_off(running, monkeypatch):
    monkeypatch.setattr("export.attacks.server.BODY_TIMEOUT_S", 0.2)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    connection.putrequest("POST", INFER)
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    assert connection.getresponse().status == 408
    connection.close()


@pytest.mark.parametrize("sent", [b"", b"POST /v2/models/deepsloth/infer HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_idle_sockets_shut_no_device_out(running, sent):
    idle = []
    try:
        for _ in range(MOST + 20):
            idle.append(socket.create_connection(("127.0.0.1", running.port), 5))
            idle[-1].sendall(sent)
        good, headers = request(tiny.frames()[:1])
        assert [running.ask(body=good, **headers)[0] for _ in range(3)] == [200] * 3
        assert len(running.connections) <= MOST
        with contextlib.suppress(ConnectionError):
            assert idle[0].recv(10) == b""  # the one that has waited longest
    finally:
        for each in idle:
            each.close()


@pytest.mark.parametrize("before", [b"", b"GET /v2/models/deepsloth HTTP/1.1\r\nHost: localhost\r\n\r\n"])
@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\nX: "])
def test_a_head_that_does_not_end_is_given_up(running, monkeypatch, before, sent):
    if before and not sent:
        return  # a connection between two requests may wait for longer
    monkeypatch.setattr(BoundedProtocol, "head_s", 0.2)
    with socket.create_connection(("127.0.0.1", running.port), 10) as client:
        if before:
            client.sendall(before)
            assert client.recv(10000).startswith(b"HTTP/1.1 200")
        if sent:
            client.sendall(sent)
        with contextlib.suppress(ConnectionError):
            assert client.recv(100) == b""


def test_other_paths_and_methods(running):
    assert running.ask("/v2/models/other/infer")[0] == 404
    assert running.ask(INFER, method="GET")[0] == 405


def test_requests_without_the_token_are_refused(network):
    server = Running(make_app(LiveAttacker(network, 2, 2), FACTS, "a-token-of-the-tests", local=False))
    try:
        body, headers = request(tiny.frames()[:1])
        assert server.ask(body=body, **headers)[0] == 401
        assert server.ask("/v2/models/deepsloth", method="GET")[0] == 401
        assert server.ask(body=body, **headers, Authorization="Bearer wrong")[0] == 401
        assert (
            server.ask(body=body, **headers, Authorization="Bearer a-token-of-the-tests", Host="board.example")[0]
            == 200
        )
    finally:
        server.stop()


def test_frames_beyond_those_that_may_wait_are_refused(network):
    go, refused = threading.Event(), threading.Semaphore(0)

    class Slow(LiveAttacker):
        def __call__(self, frame):
            assert go.wait(20)
            return super().__call__(frame)

    server = Running(make_app(Slow(network, 2, 1), FACTS))
    try:
        body, headers = request(tiny.frames()[:1])
        statuses = []

        def ask():
            statuses.append(server.ask(body=body, **headers)[0])
            refused.release()

        askers = [threading.Thread(target=ask) for _ in range(6)]
        for asker in askers:
            asker.start()
        for _ in range(2):
            assert refused.acquire(timeout=20)
        assert statuses == [503] * 2
        go.set()
        for asker in askers:
            asker.join()
        assert sorted(statuses) == [200] * 4 + [503] * 2
    finally:
        go.set()
        server.stop()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"split": 0}, "found --split 0"),
        ({"split": 5}, "found --split 5"),
        ({"steps": 0}, "found --steps 0"),
        ({"threads": 0}, "--threads 0"),
        ({"token": "short"}, "found a --token of 5 characters"),
        ({"address": "no.such.host.invalid"}, "could not listen on no.such.host.invalid"),
        ({"address": "192.0.2.1"}, "could not listen on 192.0.2.1"),
        ({"port": 70000}, "could not listen on"),
    ],
)
def test_options_that_cannot_work(network, options, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        serve("tiny", network, "None", **{"split": 2, **options})


def test_process_says_where_it_listens_and_ends_quietly():
    code = "from tests import tiny; from export.attacks.server import serve; serve('tiny', tiny.network(), 'None', 2, 3, port=0, threads=1)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        url = re.search("--attacker '(http://127.0.0.1:[0-9]+)'", line)
        assert url, (line, process.stderr.read() if process.poll() is not None else "")
        remote = RemoteAttack(url.group(1), 10)
        pixels = tiny.frames()[0]
        for _ in range(200):  # it listens before it serves
            if (remote(Frame(0, pixels, None, 0.0), pixels) != pixels).any():
                break
            time.sleep(0.1)
        assert "frames/s" in remote.describe()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()
