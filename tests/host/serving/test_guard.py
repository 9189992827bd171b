"""The guard in host/serving/guard.py, mostly with real sockets against uvicorn."""

import asyncio
import http.client
import json
import threading

import pytest
from starlette.exceptions import HTTPException

from host.credentials import tokens
from host.credentials.tokens import Tokens
from host.serving import discard, guard, rate
from host.serving.guard import AccessGuard, ClientLimits
from tests.host.serving.conftest import SECOND, TOKEN
from tests.host.site import BOTH_LOOPS, answer, closed_after
from tests.host.waits import until, until_async


def test_nothing_is_asked_for_by_default(serve):
    host = serve()
    assert host.ask()[::2] == (200, b"127.0.0.1")
    assert host.ask("POST", body=b"x" * 100000)[0] == 200
    assert host.refusals == []


def test_requests_without_a_known_token_are_refused(serve, token_file):
    host = serve(known=Tokens(token_file))
    assert host.ask(token=TOKEN)[::2] == (200, b"cam-1")
    assert host.ask(token=SECOND)[::2] == (200, b"cam-2")
    for token, words in ((None, "found no token"), ("x" * 16, "found an unknown token")):
        status, headers, body = host.ask(token=token)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        sentence = json.loads(body)["error"]
        assert words in sentence
        assert "x" * 16 not in sentence
    assert host.ask(path="/v2/health/live")[0] == host.ask(path="/v2/health/ready")[0] == 200
    assert host.ask(path="/v2/health/live/../../x")[0] == host.ask(path="/v2/health/")[0] == 401
    assert host.site.begun == 4
    assert host.refusals == [(401, "no_token"), (401, "unknown_token"), (401, "no_token"), (401, "no_token")]


def test_a_token_is_rotated_while_the_host_runs(serve, token_file, monkeypatch):
    monkeypatch.setattr(tokens, "CHECK_S", 0.02)
    host = serve(known=Tokens(token_file))
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=5)  # one connection sees it all

    def ask(token):
        connection.request("GET", "/", headers={"Authorization": "Bearer " + token})
        response = connection.getresponse()
        return response.status, response.read()

    assert ask(TOKEN) == (200, b"cam-1")
    token_file.write_text(f"cam-1: {TOKEN}\ncam-1: {'n' * 20}\n")
    until(lambda: ask(TOKEN) == ask("n" * 20) == (200, b"cam-1"))
    token_file.write_text(f"cam-1: {'n' * 20}\n")
    until(lambda: ask("n" * 20) == (200, b"cam-1") and ask(TOKEN)[0] == 401)
    assert ask("n" * 20) == (200, b"cam-1")
    connection.close()


def test_refused_before_the_body_is_read(serve, token_file, monkeypatch):
    monkeypatch.setattr(discard, "DISCARD_S", 0.1)
    host = serve(known=Tokens(token_file))
    for head in (
        b"Content-Length: 60000000",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 9\r\nExpect: 100-continue",
    ):
        with host.connect() as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n")
            received = connection.recv(65536)  # no byte of the body has gone
            rest = closed_after(connection)
        assert received.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert b"connection: close\r\n" in received
        assert b"100 Continue" not in received
        assert rest in (b"", json.dumps({"error": ""}).encode()) or rest.startswith(b'{"error"')
    assert host.site.begun == 0


@BOTH_LOOPS
def test_the_answer_is_not_lost_to_a_client_that_sends_its_body_first(serve, token_file):
    """A close while the client sends would reset the connection; many clients then never see the 401."""
    host = serve(known=Tokens(token_file))
    for _ in range(5):
        status, headers, body = host.ask("POST", token="x" * 16, body=b"x" * 900000)
        assert (status, headers["connection"]) == (401, "close")
        assert json.loads(body)["error"]


def test_requests_beyond_the_rate_are_refused(serve, token_file, clock):
    host = serve(known=Tokens(token_file), rate_hz=2.0, burst=3)
    assert [host.ask(token=TOKEN)[0] for _ in range(3)] == [200] * 3
    status, headers, body = host.ask(token=TOKEN)
    assert (status, headers["retry-after"]) == (429, "1")
    assert "of cam-1" in json.loads(body)["error"]
    assert "at most 2 a second and 3 at once" in json.loads(body)["error"]
    assert host.ask(token=SECOND)[0] == 200  # another client's is its own
    assert host.ask(path="/v2/health/ready")[0] == 200
    clock.now_s += 0.55
    assert host.ask(token=TOKEN)[0] == 200
    assert host.ask(token=TOKEN)[0] == 429
    assert set(host.refusals) == {(429, "rate")}


async def status_of(guarded, frames, client="10.0.0.1"):
    """Status and Retry-After of a request of so many frames; 429 by the guard, or by what it charges later."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": "/", "headers": [], "client": (client, 1), "frames": frames}
    try:
        await guarded(scope, receive, send)
    except HTTPException as error:
        return error.status_code, int(error.headers["Retry-After"])
    return sent[0]["status"], int(dict(sent[0]["headers"]).get(b"retry-after", 0))


def asked(guarded, frames, client="10.0.0.1"):
    with pytest.raises(StopIteration) as done:
        status_of(guarded, frames, client).send(None)  # it waits for nothing, so it needs no event loop
    return done.value.value


def counting_after(heads=None):
    """An application that charges what it has read, which it has once ``heads`` is set."""

    async def application(scope, receive, send):
        if heads:
            await heads.wait()
        guard.charge(scope, scope["frames"])
        await answer(send, 200, b"")

    return application


counting = counting_after()


def test_the_rate_counts_frames_and_not_requests(clock):
    """One frame a request or many: a client gets the same number of frames a second."""
    for frames in (1, 4, 32):
        guarded = AccessGuard(counting, ClientLimits(rate_hz=100.0, burst=8))
        done, seconds = 0, 10
        for _ in range(seconds * 200):  # asks twice as often as it may with single frames
            done += frames * (asked(guarded, frames)[0] == 200)
            clock.now_s += 1 / 200
        assert 100 * seconds - 32 <= done <= 100 * seconds + 8 + 32


def test_a_request_with_more_frames_than_the_burst_is_taken_and_paid_for_later(clock):
    guarded = AccessGuard(counting, ClientLimits(rate_hz=10.0, burst=1))
    assert asked(guarded, 32) == (200, 0)
    assert asked(guarded, 1) == (429, 4)
    assert asked(guarded, 1, "10.0.0.2") == (200, 0)
    clock.now_s += 3.2
    assert asked(guarded, 1) == (200, 0)


def test_requests_that_came_in_together_cannot_each_overdraw_the_rate(clock):
    """Otherwise all of them would pass the guard by their headers before the frames of the first are counted."""
    heads, refused = asyncio.Event(), []
    guarded = AccessGuard(
        counting_after(heads), ClientLimits(rate_hz=10.0, burst=8), refused=lambda *each: refused.append(each)
    )

    async def run():
        requests = [asyncio.ensure_future(status_of(guarded, 32)) for _ in range(8)]
        await until_async(lambda: guarded.busy_clients)
        heads.set()
        return await asyncio.gather(*requests)

    assert [status for status, _ in asyncio.run(run())] == [200] + [429] * 7
    assert refused == [(429, "rate")] * 7


def test_without_a_rate_nothing_is_charged():
    assert asked(AccessGuard(counting, ClientLimits()), 32) == (200, 0)


def test_requests_at_the_same_time(serve, token_file):
    host = serve(known=Tokens(token_file), requests=2)
    host.site.gate.clear()
    done = []
    threads = [threading.Thread(target=lambda: done.append(host.ask(token=TOKEN)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: host.site.begun == 2)
    status, headers, body = host.ask(token=TOKEN)
    assert (status, headers["retry-after"]) == (429, "1")
    assert "expected at most 2 at the same time" in json.loads(body)["error"]
    other = threading.Thread(target=lambda: done.append(host.ask(token=SECOND)[0]))
    other.start()
    until(lambda: host.site.begun == 3)
    host.site.gate.set()
    for thread in [*threads, other]:
        thread.join(5)
    assert done == [200, 200, 200]
    assert host.ask(token=TOKEN)[0] == 200
    assert host.refusals == [(429, "client_requests")]


def test_a_client_that_goes_away_gives_its_place_back(serve):
    host = serve(requests=1)
    for _ in range(3):
        until(lambda: host.ask()[0] == 200)  # the place of the one before is given back
        before = host.site.begun
        with host.connect() as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
            until(lambda count=before: host.site.begun > count)
    until(lambda: host.ask()[0] == 200)


def test_a_million_addresses_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(rate, "MAX_CLIENTS", 100)
    guarded = AccessGuard(counting, ClientLimits(rate_hz=0.001, burst=1))
    for number in range(3000):
        assert asked(guarded, 1, f"10.0.{number >> 8}.{number & 255}")[0] == 200
    assert asked(guarded, 1, "10.0.11.183")[0] == 429  # the last one is remembered
    assert asked(guarded, 1, "10.0.0.1")[0] == 200  # the first one is not
    assert guarded.busy_clients == 0
