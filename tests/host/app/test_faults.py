"""What goes wrong inside the host, or takes longer than a test should: the application in this process."""

import asyncio
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import uvicorn

from device.bundle.reader import load_bundle
from device.protocol.messages import HEADER_LENGTH, decode_response, encode_request
from host.app.routes import HostSettings, make_app
from host.app.tail import Answers, Tail
from tests.host.conftest import BUNDLE, ROOT
from tests.host.waits import until

SHAPE = (6, 8, 8)


class FaultyTail(Tail):
    """Fails, or answers NaN, when the first value of a frame says so."""

    FAIL, NAN, HANG = -1.0, -2.0, -3.0
    let_go = threading.Event()

    def run(self, activation, threshold):
        first = activation[:, 0, 0, 0]
        if (first == self.HANG).any():
            self.let_go.wait(20)
        if (first == self.FAIL).any():
            raise RuntimeError("out of memory")
        confidence = np.where(first == self.NAN, np.nan, 0.5).astype(np.float32)
        return Answers(first.astype(np.int64), confidence, np.full(len(first), 3))


class ServerThread(uvicorn.Server):
    def __init__(self, app):
        super().__init__(uvicorn.Config(app, http="httptools", loop="asyncio", lifespan="on", log_config=None))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.up = threading.Event()
        self.thread = threading.Thread(target=self.run, args=([self.listener],), daemon=True)
        self.thread.start()
        assert self.up.wait(20)

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.up.set()

    def stop(self):
        self.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def tail():
    return FaultyTail(load_bundle(str(BUNDLE)), 1)


@pytest.fixture
def serve(tail):
    started = []

    def start(**settings):
        started.append(ServerThread(make_app(tail, HostSettings(**settings))))
        return started[-1].port

    yield start
    for server in started:
        server.stop()


def exchange(port, method, path, body=b"", headers=None):
    """Status, header length, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.getheader(HEADER_LENGTH), answer.read()
    finally:
        connection.close()


def ask(port, tail, value, binary=True, name=""):
    activation = np.zeros((1, *SHAPE), np.float32)
    activation[:, 0, 0, 0] = value
    encoded = encode_request({"activation": activation}, binary=binary)
    headers = {HEADER_LENGTH: str(encoded.header_length)} if binary else {}
    return exchange(port, "POST", f"/v2/models/{name or tail.bundle.id}/infer", encoded.body, headers)


@pytest.mark.parametrize(("sent", "announced"), [(b"", 10), (b"{", 10)])
def test_a_body_that_stops_coming_gets_408(serve, tail, sent, announced):
    port = serve(body_timeout_s=0.1)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        head = f"POST /v2/models/{tail.bundle.id}/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {announced}\r\n\r\n"
        connection.sendall(head.encode() + sent)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 408
        assert f"announced {announced} bytes" in json.loads(answer.read())["error"]
        assert connection.recv(1) == b""  # and the connection is closed: what would follow is no request
    assert ask(port, tail, 1)[0] == 200


def test_an_engine_that_fails_answers_500_and_the_host_goes_on(serve, tail):
    port = serve()
    status, _, body = ask(port, tail, tail.FAIL)
    assert status == 500
    assert "out of memory" in json.loads(body)["error"]
    status, length, body = ask(port, tail, 2)
    assert status == 200
    assert decode_response(body, int(length)).tensors["label"].tolist() == [2]


@pytest.mark.parametrize("binary", [True, False])
def test_an_answer_that_is_not_finite_is_an_error(serve, tail, binary):
    port = serve()
    status, _, body = ask(port, tail, tail.NAN, binary)
    assert status == 400
    assert "beyond float32" in json.loads(body)["error"]
    assert ask(port, tail, 1, binary)[0] == 200


def test_while_the_engine_does_not_answer_the_host_is_not_ready(serve, tail):
    tail.let_go.clear()
    port = serve(engine_timeout_s=0.1)
    ready = f"/v2/models/{tail.bundle.id}/ready"
    assert exchange(port, "GET", ready)[0] == 200
    for value in (tail.HANG, 1):  # one in the engine, one that comes after
        status, _, body = ask(port, tail, value)
        assert (status, json.loads(body)["error"]) == (503, "the engine has not answered for 0.1 s; ask another host")
    for path in (ready, "/v2/health/ready"):
        status, _, body = exchange(port, "GET", path)
        assert (status, json.loads(body)["error"]) == (503, "the engine has not answered for 0.1 s; ask another host")
    assert exchange(port, "GET", "/v2/health/live")[0] == 200
    tail.let_go.set()
    until(lambda: exchange(port, "GET", ready)[0] == 200)
    assert ask(port, tail, 1)[0] == 200


HANGS = """
import sys, threading
import host.app.routes, host.app.tail
from host.cli import main
host.app.tail.Tail.answer = lambda *_: threading.Event().wait()
host.app.routes.HostSettings.__init__.__defaults__ = (32, 0.002, 64 << 20, 10.0, 0.2, False)
sys.exit(main(["serve", "--bundle", sys.argv[1], "--port", "0", "--threads", "1"]))
"""


def test_a_host_whose_engine_never_answers_ends_on_sigterm(tail):
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS, str(BUNDLE)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline()).group(1))
        assert ask(port, tail, 1)[0] == 503
        process.terminate()
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "error: the engine has not answered for 0.2 s; requests are refused until it does" in errors


def test_a_fault_of_the_host_itself_answers_json(serve, tail, monkeypatch):
    port = serve()

    def checked(tensors, max_batch):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(tail, "checked", checked)
    status, _, body = ask(port, tail, 1)
    assert status == 500
    assert "its log on stderr says why" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/v2", 405),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v2/health/live/", 404),
        ("POST", "/v2/models/other/infer/", 404),
    ],
)
def test_every_refusal_is_json(serve, method, path, status):
    found, _, body = exchange(serve(), method, path)
    assert found == status  # and no redirect to whatever host a request names
    assert list(json.loads(body)) == ["error"]


def test_a_long_name_is_cut_in_the_sentence(serve, tail):
    status, _, body = ask(serve(), tail, 1, name="m" * 30000)
    assert status == 404
    assert len(body) < 500


def test_one_request_may_fill_a_batch_of_any_size(serve, tail):
    port = serve(max_batch=1500)
    encoded = encode_request({"activation": np.zeros((1500, *SHAPE), np.float32)}, ["label"])
    headers = {HEADER_LENGTH: str(encoded.header_length)}
    assert exchange(port, "POST", f"/v2/models/{tail.bundle.id}/infer", encoded.body, headers)[0] == 200


def test_ready_says_503_before_the_start_and_200_after(serve, tail):
    sent = []

    async def send(message):
        sent.append(message)

    path = "/v2/health/ready"
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    asyncio.run(make_app(tail)(scope, None, send))  # no lifespan: nothing has started
    assert sent[0]["status"] == 503
    assert "starting" in json.loads(sent[1]["body"])["error"]
    assert exchange(serve(), "GET", path)[0] == 200
