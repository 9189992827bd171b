"""The middleware before Ray Serve's proxy, and the end of its way in a replica, without Ray: bounds, errors as JSON."""

import asyncio
import json

import pytest
from starlette.exceptions import HTTPException

from host.app.fairness import SharedBudget
from host.cluster.dispatcher import ForwardedRequest, Reply, Unavailable
from host.cluster.replica_proxy import ReplicaProxy, answer_of

SCOPE = {"type": "http", "method": "POST", "path": "/v2", "headers": [], "query_string": b""}


def request(body=b""):
    return ForwardedRequest(SCOPE, body)


def through(app, scope, *parts):
    """Status, headers and body that a client sees."""
    messages = []
    waiting = list(parts)

    async def receive():
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()

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
    answer = through(ReplicaProxy(proxy, echo(seen)), scope, part(b"ab", True), part(b"cd"))
    assert answer == (200, {"x-one": "1"}, b"abcd")
    assert seen[0].scope["client"] == ("10.0.0.1", 7)
    assert "state" not in seen[0].scope  # what belongs to the server does not travel


def test_paths_of_ray_serve_go_past():
    assert through(ReplicaProxy(proxy, echo([])), {**SCOPE, "path": "/-/healthz"})[2] == b"of the proxy"


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
    app = ReplicaProxy(proxy, echo(seen), max_body_bytes=10, body_timeout_s=0.05)
    found, headers, body = through(app, {**SCOPE, "headers": [(b"content-length", length)]}, *parts)
    assert found == status
    assert headers["connection"] == "close"
    assert list(json.loads(body)) == ["error"]
    assert not seen


def test_a_client_that_goes_is_not_answered():
    assert through(ReplicaProxy(proxy, echo([])), SCOPE, part(b"a", True), {"type": "http.disconnect"}) is None


def test_errors_are_json():
    async def ask(requests):
        raise Unavailable("no replica is up")

    status, _, body = through(ReplicaProxy(proxy, ask), SCOPE, part(b""))
    assert (status, json.loads(body)) == (503, {"error": "no replica is up"})


def test_the_other_end_answers_with_what_the_application_said():
    async def app(scope, receive, send):
        body = (await receive())["body"]
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 500, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})
        raise HTTPException(500)  # as Starlette does once it has answered

    assert asyncio.run(answer_of(app, request(b"hello"))) == Reply(500, [(b"a", b"b")], b"hello!")


def test_the_other_end_with_an_application_that_says_nothing():
    async def app(scope, receive, send):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(answer_of(app, request()))


def test_bodies_that_wait_take_a_bounded_memory():
    memory = SharedBudget(16)
    app = ReplicaProxy(proxy, echo([]), max_body_bytes=8, memory=memory)
    assert memory.take("192.0.2.1", 8)
    scope = {**SCOPE, "client": ("192.0.2.2", 7)}
    assert through(app, scope, part(b"x" * 8))[0] == 200
    assert memory.take("192.0.2.3", 4)
    status, _, body = through(app, scope, part(b"x" * 8))
    assert status == 503
    assert "too many bytes" in json.loads(body)["error"]
    assert through(app, scope, part(b"x" * 4))[0] == 200
    assert memory.held == 12
