"""A request is bounded by what the model takes before it is unpacked or parsed, and never read at length in the event loop."""

import asyncio
import gzip
import json
import threading

import numpy as np
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from device.bundle.reader import load_bundle
from device.errors import WireError
from device.protocol.messages import HEADER_LENGTH, encode_request
from device.protocol.tensors import DTYPES
from host.app import request_reader
from host.app.request_reader import INLINE_JSON_BYTES, RequestReader, limits_of
from host.app.tail import forms_of
from host.serving.request_log import RequestLog
from tests.device.payload.conftest import SHIPPED
from tests.host.conftest import BUNDLE

FRAMES = 8
FORM = {"activation": ("FP32", (4, 32, 32))}  # 128 KiB for 8 frames


@pytest.fixture
def reader():
    return RequestReader(limits_of([FORM], FRAMES, 64 << 20), 10.0)


def read(reader, body, headers=None, client="a", pieces=1):
    """The message of a request that comes in so many pieces."""
    size = -(-len(body) // pieces)
    messages = [
        {"type": "http.request", "body": body[start : start + size], "more_body": start + size < len(body)}
        for start in range(0, max(1, len(body)), max(1, size))
    ]

    async def receive():
        return messages.pop(0)

    named = {"Content-Length": str(len(body)), **(headers or {})}
    scope = {"type": "http", "headers": [(name.lower().encode(), value.encode()) for name, value in named.items()]}

    async def run():
        with reader.held(client) as held:
            return await reader.read(Request(scope, receive), client, held, RequestLog())

    return asyncio.run(run())


def request(frames, binary, tensors=None):
    encoded = encode_request(tensors or {"activation": np.full((frames, 4, 32, 32), 0.1, np.float32)}, binary=binary)
    return encoded.body, {HEADER_LENGTH: str(encoded.header_length)} if binary else {}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("frames", [1, FRAMES])
def test_what_the_model_takes_is_read(reader, frames, binary, packed):
    body, headers = request(frames, binary)
    if packed:
        body, headers = gzip.compress(body, 1), {**headers, "Content-Encoding": "gzip"}
    assert read(reader, body, headers, pieces=3).tensors["activation"].shape == (frames, 4, 32, 32)
    assert reader.memory.held == 0


def test_numbers_as_long_as_they_can_be_fit_in():
    """Every value of float32 in JSON, with the separators that other programs write."""
    longest = np.full((2, 4, 2, 2), -1.17549435e-38, np.float32)
    limits = limits_of([{"activation": ("FP32", (4, 2, 2))}], 2, 64 << 20)
    cells = longest.tolist()
    for indent in (None, 0):
        body = json.dumps(
            {"inputs": [{"name": "activation", "shape": [2, 4, 2, 2], "datatype": "FP32", "data": cells}]},
            indent=indent,
        )
        message = read(RequestReader(limits, 10.0), body.encode())
        assert np.array_equal(message.tensors["activation"], longest)


BOMBS = {
    "zeros": b'{"inputs":[{"name":"a","shape":[%d],"datatype":"INT8","data":[' % (16 << 20) + b"0," * (16 << 20) + b"0]}]}",
    "zeros within": b'{"parameters":{"a":[' + b"0," * 100_000 + b'0]},"inputs":[]}',
    "lists": b'{"inputs":[' + b"[]," * 100_000 + b"[]]}",
    "spaces": b" " * (32 << 20),
    "text": b'{"id":"' + b"a" * (32 << 20) + b'"}',
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_more_than_the_model_takes_is_refused_before_it_is_parsed(reader, monkeypatch, bomb):
    """Otherwise 31 kB of packed zeros would keep all clients waiting for 1.6 s."""
    parsed = []
    monkeypatch.setattr("device.protocol.messages.read_json", lambda *_arguments, **_options: parsed.append(True))
    body = gzip.compress(BOMBS[bomb], 6)
    assert len(body) < 64 << 10
    with pytest.raises(WireError) as found:
        read(reader, body, {"Content-Encoding": "gzip"})
    assert found.value.status == 413
    assert not parsed
    assert reader.memory.held == 0


def test_a_body_larger_than_the_model_takes_is_refused_by_its_head(reader):
    for headers, most in (({HEADER_LENGTH: "9"}, 8 * (4 * 4096 + 4) + (64 << 10)), ({}, 8 * 4097 * 32 + (64 << 10))):
        with pytest.raises(HTTPException, match=f"expected at most {most}, for 8 frames of this model") as found:
            read(reader, b"x" * (most + 1), headers)
        assert found.value.status_code == 413
        assert found.value.headers == {"Connection": "close"}


@pytest.mark.parametrize("packed", [False, True])
def test_long_json_is_parsed_in_a_thread_and_short_json_at_once(reader, monkeypatch, packed):
    threads = []
    real = request_reader.decode_request

    def watched(*arguments):
        threads.append(threading.current_thread() is threading.main_thread())
        return real(*arguments)

    monkeypatch.setattr(request_reader, "decode_request", watched)
    headers = {"Content-Encoding": "gzip"} if packed else {}
    for tensors in ({"activation": np.zeros((1, 4), np.int8)}, None):
        body, _ = request(FRAMES, False, tensors)
        assert (len(body) > INLINE_JSON_BYTES) == (tensors is None)
        read(reader, gzip.compress(body) if packed else body, headers)
    read(reader, *request(FRAMES, True))
    assert threads == [True, False, True]


def test_others_are_served_while_json_is_parsed(reader, monkeypatch):
    """The thread pauses between numbers; here it goes on only once the event loop has run."""
    turn, turns = threading.Event(), []

    def pause(_seconds):
        turns.append(turn.wait(10))
        turn.clear()

    monkeypatch.setattr(request_reader.time, "sleep", pause)

    async def run():
        body, _ = request(FRAMES, False)
        message = asyncio.ensure_future(asyncio.to_thread(read, reader, body))
        while not message.done():
            turn.set()
            await asyncio.sleep(0)
        await message

    asyncio.run(run())
    assert len(turns) >= FRAMES * 4096 // 2000
    assert all(turns)


def test_one_client_cannot_take_all_memory():
    reader = RequestReader(limits_of([FORM], FRAMES, 64 << 20), 10.0)
    size = reader.memory.total
    body, headers = request(FRAMES, True)
    with reader.held("greedy") as greedy:
        for _ in range(8):
            greedy.add(size // 16)
        with pytest.raises(HTTPException) as found:
            greedy.add(size // 16)
        assert found.value.status_code == 503
        with pytest.raises(HTTPException):
            read(reader, body, headers, "greedy")
        with pytest.raises(HTTPException):  # of the head alone, whose body has not come
            read(reader, b"", {"Content-Length": str(len(body)), **headers}, "greedy")
        assert read(reader, body, headers, "modest").tensors
        assert reader.memory.held == size // 2
    assert reader.memory.held == 0


def test_limits_follow_the_model():
    bundle = load_bundle(str(BUNDLE))
    limits = limits_of(forms_of(bundle).values(), 32, 64 << 20)
    assert limits.binary_bytes == 32 * (6 * 64 * 4 + 4) + (64 << 10)
    assert limits.message.json_bytes < 1 << 20
    assert limits.memory_bytes == 16 << 20
    small = limits_of(forms_of(bundle).values(), 32, 1000)
    assert max(small.binary_bytes, small.message.json_bytes, small.message.body_bytes) == 1000
    large = limits_of([{"activation": ("FP32", (128, 16, 16))}], 32, 64 << 20)
    assert 1024 * (4 * 32768 + 4) <= large.memory_bytes == 4 * large.message.json_bytes
    for form in SHIPPED:
        tensors = {
            name: np.zeros((32, *shape), DTYPES[dtype]) for name, (dtype, shape) in forms_of(bundle)[form].items()
        }
        for binary in (True, False):
            body, headers = request(32, binary, {**tensors, "threshold": np.full((32, 1), 0.1, np.float32)})
            assert set(read(RequestReader(limits, 10.0), body, headers).tensors) == {*tensors, "threshold"}
