"""The carrier before Ray Serve's proxy, without Ray: groups, deaths of replicas, bounds, errors as JSON."""

import asyncio
import json

import pytest
from starlette.exceptions import HTTPException

from host.cluster import replica_proxy as front
from host.cluster.replica_proxy import Carried, Carrier, Front, ReplicaDied, Reply, Unavailable, replied

SCOPE = {"type": "http", "method": "POST", "path": "/v2", "headers": [], "query_string": b""}


def request(body=b""):
    return Carried(SCOPE, body)


class Replicas:
    """Answers with the body it got, after ``gate`` opens; ``script`` holds errors for the first calls."""

    def __init__(self, *script):
        self.script = list(script)
        self.calls = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, requests):
        self.calls.append([each.body for each in requests])
        error = self.script.pop(0) if self.script else None
        await self.gate.wait()
        if error:
            raise error
        return "one", [Reply(200, [], each.body) for each in requests]


async def carried(carrier, bodies):
    replies = await asyncio.gather(*(carrier.carry(request(body)) for body in bodies), return_exceptions=True)
    return [each.body if isinstance(each, Reply) else (each.status_code, each.detail) for each in replies]


def test_what_comes_while_calls_are_on_their_way_goes_in_one():
    async def run():
        replicas = Replicas()
        replicas.gate.clear()
        carrier = Carrier(replicas.ask)
        bodies = [bytes([number]) for number in range(40)]
        tasks = asyncio.ensure_future(carried(carrier, bodies))
        await asyncio.sleep(0.01)
        assert [len(call) for call in replicas.calls] == [1, 1, 1]  # one that runs, one that waits, one for others
        replicas.gate.set()
        assert await tasks == bodies
        assert [len(call) for call in replicas.calls] == [1, 1, 1, 32, 5]

    asyncio.run(run())


def test_large_requests_go_in_calls_of_their_own(monkeypatch):
    async def run():
        monkeypatch.setattr(front, "MAX_GROUP_BYTES", 10)
        replicas = Replicas()
        replicas.gate.clear()
        carrier = Carrier(replicas.ask)
        bodies = [b"x" * 6] * 3 + [b"y" * 4, b"z" * 6, b"w" * 60]
        tasks = asyncio.ensure_future(carried(carrier, bodies))
        await asyncio.sleep(0.01)
        replicas.gate.set()
        assert await tasks == bodies
        assert [[len(body) for body in call] for call in replicas.calls[3:]] == [[4, 6], [60]]

    asyncio.run(run())


def test_when_a_replica_dies_its_requests_are_asked_again_one_by_one(capsys):
    async def run():
        replicas = Replicas(None, None, None, ReplicaDied("gone"))
        replicas.gate.clear()
        carrier = Carrier(replicas.ask)
        bodies = [bytes([number]) for number in range(6)]
        tasks = asyncio.ensure_future(carried(carrier, bodies))
        await asyncio.sleep(0.01)
        replicas.gate.set()
        assert await tasks == bodies
        assert replicas.calls[3] == bodies[3:]  # under which it died
        assert sorted(replicas.calls[4:]) == [[body] for body in bodies[3:]]

    asyncio.run(run())
    assert "a replica died under 3 requests (gone)" in capsys.readouterr().err


def test_a_request_that_replicas_die_of_ends():
    async def run():
        replicas = Replicas(*[ReplicaDied("gone")] * 3)
        answers = await carried(Carrier(replicas.ask), [b"a"])
        assert answers == [(503, "3 replicas died under this request; ask again later")]
        assert len(replicas.calls) == 3

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (Unavailable("no replica is up"), 503, "no replica is up"),
        (ValueError("bad"), 500, "the replica failed on this request (bad)"),
    ],
)
def test_errors_of_a_call_reach_its_requests_and_the_next_goes_on(error, status, sentence):
    async def run():
        carrier = Carrier(Replicas(error).ask)
        ((found, detail),) = await carried(carrier, [b"a"])
        assert found == status
        assert sentence in detail
        assert await carried(carrier, [b"b"]) == [b"b"]

    asyncio.run(run())


def test_too_many_that_wait_get_503():
    async def run():
        replicas = Replicas()
        replicas.gate.clear()
        carrier = Carrier(replicas.ask, max_waiting=4)
        tasks = asyncio.ensure_future(carried(carrier, [b"a"] * 6))
        await asyncio.sleep(0.01)
        replicas.gate.set()
        answers = await tasks
        assert answers[:5] == [b"a"] * 5  # three on their way, two that wait: one client may have half
        assert answers[5] == (503, "too many frames wait at this cluster; ask again later or ask another")

    asyncio.run(run())


def test_a_reply_that_does_not_come_is_given_up_and_not_asked_for_again():
    async def run():
        replicas = Replicas()
        replicas.gate.clear()
        carrier = Carrier(replicas.ask, timeout_s=0.05)
        answers = await carried(carrier, [b"a"] * 5)
        assert answers == [(503, "no replica answered within 0.05 s; ask again later")] * 5
        replicas.gate.set()
        assert await carried(carrier, [b"b"]) == [b"b"]
        assert [b"a", b"a"] not in replicas.calls  # the two that still waited have nobody left

    asyncio.run(run())


def through(app, scope, *parts):
    """Status, headers and body that a client sees."""
    messages = []
    waiting = list(parts)

    async def receive():
        if waiting:
            return waiting.pop(0)
        await asyncio.sleep(60)

    async def send(message):
        messages.append(message)

    asyncio.run(app(scope, receive, send))
    if not messages:
        return None
    headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return messages[0]["status"], headers, b"".join(each.get("body", b"") for each in messages[1:])


def part(body, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


async def proxy(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"of the proxy"})


def echo(seen):
    async def ask(requests):
        seen.extend(requests)
        return "one", [Reply(200, [(b"x-one", b"1")], each.body) for each in requests]

    return ask


def test_a_request_is_carried_whole():
    seen = []
    scope = {**SCOPE, "headers": [(b"content-length", b"4")], "client": ("10.0.0.1", 7), "state": object()}
    answer = through(Front(proxy, echo(seen)), scope, part(b"ab", True), part(b"cd"))
    assert answer == (200, {"x-one": "1"}, b"abcd")
    assert seen[0].scope["client"] == ("10.0.0.1", 7)
    assert "state" not in seen[0].scope  # what belongs to the server does not travel


def test_paths_of_ray_serve_go_past():
    assert through(Front(proxy, echo([])), {**SCOPE, "path": "/-/healthz"})[2] == b"of the proxy"


@pytest.mark.parametrize(
    ("length", "parts", "status"),
    [
        (b"11", [], 413),
        (b"-1", [], 413),
        (b"2", [part(b"a" * 6, True), part(b"a" * 6)], 413),
        (b"2", [part(b"a", True)], 408),
    ],
)
def test_bounds_of_a_body(length, parts, status):
    seen = []
    app = Front(proxy, echo(seen), max_body_bytes=10, body_timeout_s=0.05)
    found, headers, body = through(app, {**SCOPE, "headers": [(b"content-length", length)]}, *parts)
    assert found == status
    assert headers["connection"] == "close"
    assert list(json.loads(body)) == ["error"]
    assert not seen


def test_a_client_that_goes_is_not_answered():
    assert through(Front(proxy, echo([])), SCOPE, part(b"a", True), {"type": "http.disconnect"}) is None


def test_errors_are_json():
    async def ask(requests):
        raise Unavailable("no replica is up")

    status, _, body = through(Front(proxy, ask), SCOPE, part(b""))
    assert (status, json.loads(body)) == (503, {"error": "no replica is up"})


def test_the_other_end_answers_with_what_the_application_said():
    async def app(scope, receive, send):
        body = (await receive())["body"]
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 500, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})
        raise HTTPException(500)  # as Starlette does once it has answered

    assert asyncio.run(replied(app, request(b"hello"))) == Reply(500, [(b"a", b"b")], b"hello!")


def test_the_other_end_with_an_application_that_says_nothing():
    async def app(scope, receive, send):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(replied(app, request()))


def test_a_client_with_many_requests_does_not_hold_up_another():
    async def run():
        replicas = Replicas()
        replicas.gate.clear()
        carrier = Carrier(replicas.ask)

        def of(address, body):
            return Carried({**SCOPE, "client": (address, 7)}, body)

        many = [asyncio.ensure_future(carrier.carry(of("10.0.0.1", b"m"))) for _ in range(200)]
        await asyncio.sleep(0)
        one = asyncio.ensure_future(carrier.carry(of("10.0.0.2", b"o")))
        await asyncio.sleep(0.01)
        replicas.gate.set()
        await asyncio.gather(one, *many)
        assert b"o" in replicas.calls[3]  # the first after those on their way

    asyncio.run(run())


def test_bodies_that_wait_take_a_bounded_memory(monkeypatch):
    monkeypatch.setattr(front, "MEMORY_REQUESTS", 2)
    app = Front(proxy, echo([]), max_body_bytes=8)
    assert app._memory.take("192.0.2.1", 8)
    scope = {**SCOPE, "client": ("192.0.2.2", 7)}
    assert through(app, scope, part(b"x" * 8))[0] == 200
    assert app._memory.take("192.0.2.3", 4)
    assert through(app, scope, part(b"x" * 8))[0] == 503
    assert through(app, scope, part(b"x" * 4))[0] == 200
    assert app._memory.held == 12
