"""Lines of the log: as text, as JSON, where stderr takes none; and what they are made from."""

import asyncio
import io
import json
import logging
import os
import re

import pytest

from host.serving.log import Log
from host.serving.request_log import CLIENT_GONE, REQUEST_LOG, RequestLog, RequestLogMiddleware


def record(**fields):
    made = RequestLog("192.0.2.1:50000")
    made.status, made.frames, made.batch, made.bytes, made.ms, made.id = 200, 3, 8, 4711, 1.23456, "id-1"
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def lines(*records, as_json=False):
    stream = io.StringIO()
    log = Log(as_json, stream)
    for each in records:
        log.request(each)
    return stream.getvalue().split("\n")[:-1]


def test_lines_as_text():
    assert lines(record(), record(name="gate-2", id=""), record(name="a b", id="x y=1")) == [
        "192.0.2.1:50000 id=id-1 frames=3 batch=8 status=200 ms=1.23",
        "192.0.2.1:50000 name=gate-2 id=- frames=3 batch=8 status=200 ms=1.23",
        "192.0.2.1:50000 name='a b' id='x y=1' frames=3 batch=8 status=200 ms=1.23",
    ]


def test_lines_as_json():
    (line,) = lines(record(name="gate-2"), as_json=True)
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {"level": "info", "event": "request", "client": "192.0.2.1:50000", "name": "gate-2", "id": "id-1", "frames": 3,
                     "batch": 8, "status": 200, "ms": 1.23, "bytes": 4711}  # fmt: skip


def test_a_clients_address_from_a_proxy():
    spoken = record()
    spoken.client = "192.0.2.7 status=200"  # what X-Forwarded-For said
    assert lines(spoken)[0].startswith("'192.0.2.7 status=200' id=id-1 ")
    spoken.client = "2001:db8::1:5"
    assert lines(spoken)[0].startswith("2001:db8::1:5 id=id-1 ")


@pytest.mark.parametrize("text", ["a\nb", "a\r\nstatus=200", "\u2028", "\x1b[2J", '"}', "\ud800", "x" * 100000])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_clients_text_stays_on_its_line(text, as_json):
    found = lines(record(id=text, name=text), as_json=as_json)
    assert len(found) == 1
    assert found[0].isprintable()
    assert len(found[0]) < 110400
    if as_json:
        assert json.loads(found[0])["id"] == text[:80]


def test_a_closed_stderr_is_no_error(tmp_path):
    stream = io.StringIO()
    log = Log(stream=stream)
    stream.close()
    log.request(record())
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe:
        log = Log(stream=pipe)
        os.close(reader)
        log.request(record())
    log.request(record())  # its file is closed


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_no_error():
    with open("/dev/full", "w") as stream:
        Log(stream=stream).request(record())


def test_a_pipe_that_nobody_reads_holds_nobody_up():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb") as others:
        log = Log(stream=stream)
        for _ in range(3000):  # some 180 kB; a pipe holds 64
            log.request(record())
        log.warn("x" * 100000)
        os.set_blocking(reader, False)
        held = others.read()
        assert 60000 < len(held) < 70000
        log.request(record(id="later"))
        assert b"id=later" in others.read()


def test_lines_of_the_http_server():
    stream = io.StringIO()
    log = Log(True, stream)
    loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "asyncio")]
    before = [(each, each.handlers, each.propagate, each.level) for each in loggers]
    try:
        log.take_over()
        error = logging.getLogger("uvicorn.error")
        error.setLevel(logging.NOTSET)  # servers of other tests may have made it silent
        for _ in range(3):
            error.warning("Invalid HTTP request received.")  # whoever connects can cause it
            error.error("Exception in ASGI application\n", exc_info=ValueError("oh"))
    finally:
        for each, handlers, propagate, level in before:
            each.handlers, each.propagate = handlers, propagate
            each.setLevel(level)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [each["level"] for each in found] == ["warning", "error", "error", "error"]
    assert found[0]["message"] == "Invalid HTTP request received."
    assert found[1]["message"].endswith("ValueError: oh")


def test_what_anyone_can_cause_is_written_seldom(monkeypatch):
    """A flood of refusals is a few lines a minute, and one that says how many more there were."""
    now = [1000.0]
    monkeypatch.setattr("host.serving.log.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    log = Log(stream=stream)
    for number in range(1000):
        log.warn_seldom(f"refused {number % 500}")
    assert stream.getvalue().splitlines() == [f"warning: refused {number}" for number in range(20)]
    now[0] += 60
    log.warn_seldom("refused 5")
    assert stream.getvalue().splitlines()[20:] == ["warning: left out 980 warnings like those before; /metrics counts them by reason", "warning: refused 5"]  # fmt: skip


def recorded(application, scope=None):
    """The records that come of one request."""
    found = []

    async def send(_message):
        pass

    whole = {"type": "http", "path": "/v2/models/m/infer", "client": ("192.0.2.1", 50000), **(scope or {})}
    try:
        asyncio.run(RequestLogMiddleware(application, [found.append])(whole, None, send))
    except RuntimeError:
        pass
    return found


def answering(status, change=lambda scope: None):
    async def application(scope, _receive, send):
        change(scope)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return application


def test_a_request_is_recorded_with_its_status_and_client():
    (one,) = recorded(answering(429))
    assert (one.status, one.client, one.name) == (429, "192.0.2.1:50000", "")
    assert 0 < one.ms < 1000

    def go(scope):
        scope[REQUEST_LOG].status = CLIENT_GONE
        scope["state"] = {"client_name": "gate-2"}

    (one,) = recorded(answering(400, go))
    assert (one.status, one.name) == (499, "gate-2")
    # a client without a name of its own goes by its address, which is there already
    (one,) = recorded(answering(200), {"client": ("2001:db8::1", 5), "state": {"client_name": "2001:db8::/64"}})
    assert (one.client, one.name) == ("2001:db8::1:5", "")

    async def broken(_scope, _receive, _send):
        raise RuntimeError

    assert recorded(broken)[0].status == 500
    assert recorded(answering(200), {"path": "/v2/health/live"}) == []
