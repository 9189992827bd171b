"""The dispatcher of host/cluster/dispatcher.py, without Ray: groups, deaths of replicas, bounds, fair shares."""

import asyncio

import pytest

from host.cluster import dispatcher as dispatcher_module
from host.cluster.dispatcher import Dispatcher, ForwardedRequest, ReplicaDied, Reply, Unavailable
from tests.host.waits import until_async

SCOPE = {"type": "http", "method": "POST", "path": "/v2", "headers": [], "query_string": b""}


def request(body=b""):
    return ForwardedRequest(SCOPE, body)


class Replicas:
    """Answers with the body it got, after ``gate`` opens; ``script`` holds errors for the first calls."""

    def __init__(self, *script):
        self.script = list(script)
        self.calls = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def call(self, requests):
        self.calls.append([each.body for each in requests])
        error = self.script.pop(0) if self.script else None
        await self.gate.wait()
        if error:
            raise error
        return "one", [Reply(200, [], each.body) for each in requests]


async def dispatched(dispatcher, bodies):
    replies = await asyncio.gather(*(dispatcher.dispatch(request(body)) for body in bodies), return_exceptions=True)
    return [each.body if isinstance(each, Reply) else (each.status_code, each.detail) for each in replies]


def test_what_comes_while_calls_are_on_their_way_goes_in_one():
    async def run():
        replicas = Replicas()
        replicas.gate.clear()
        dispatcher = Dispatcher(replicas.call)
        bodies = [bytes([number]) for number in range(40)]
        tasks = asyncio.ensure_future(dispatched(dispatcher, bodies))
        await until_async(lambda: dispatcher.waiting_requests == 37)
        assert [len(call) for call in replicas.calls] == [1, 1, 1]  # one that runs, one that waits, one for others
        replicas.gate.set()
        assert await tasks == bodies
        assert [len(call) for call in replicas.calls] == [1, 1, 1, 32, 5]

    asyncio.run(run())


def test_large_requests_go_in_calls_of_their_own(monkeypatch):
    async def run():
        monkeypatch.setattr(dispatcher_module, "MAX_GROUP_BYTES", 10)
        replicas = Replicas()
        replicas.gate.clear()
        dispatcher = Dispatcher(replicas.call)
        bodies = [b"x" * 6] * 3 + [b"y" * 4, b"z" * 6, b"w" * 60]
        tasks = asyncio.ensure_future(dispatched(dispatcher, bodies))
        await until_async(lambda: dispatcher.waiting_requests == 3)
        replicas.gate.set()
        assert await tasks == bodies
        assert [[len(body) for body in call] for call in replicas.calls[3:]] == [[4, 6], [60]]

    asyncio.run(run())


def test_when_a_replica_dies_its_requests_are_asked_again_one_by_one(capsys):
    async def run():
        replicas = Replicas(None, None, None, ReplicaDied("gone"))
        replicas.gate.clear()
        dispatcher = Dispatcher(replicas.call)
        bodies = [bytes([number]) for number in range(6)]
        tasks = asyncio.ensure_future(dispatched(dispatcher, bodies))
        await until_async(lambda: dispatcher.waiting_requests == 3)
        replicas.gate.set()
        assert await tasks == bodies
        assert replicas.calls[3] == bodies[3:]  # under which it died
        assert sorted(replicas.calls[4:]) == [[body] for body in bodies[3:]]

    asyncio.run(run())
    assert "a replica died under 3 requests (gone)" in capsys.readouterr().err


def test_a_request_that_replicas_die_of_ends():
    async def run():
        replicas = Replicas(*[ReplicaDied("gone")] * 3)
        answers = await dispatched(Dispatcher(replicas.call), [b"a"])
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
        dispatcher = Dispatcher(Replicas(error).call)
        ((found, detail),) = await dispatched(dispatcher, [b"a"])
        assert found == status
        assert sentence in detail
        assert await dispatched(dispatcher, [b"b"]) == [b"b"]

    asyncio.run(run())


def test_too_many_that_wait_get_503():
    async def run():
        replicas = Replicas()
        replicas.gate.clear()
        dispatcher = Dispatcher(replicas.call, max_waiting=4)
        tasks = asyncio.ensure_future(dispatched(dispatcher, [b"a"] * 6))
        await until_async(lambda: dispatcher.waiting_requests == 2)
        replicas.gate.set()
        answers = await tasks
        assert answers[:5] == [b"a"] * 5  # three on their way, two that wait: one client may have half
        assert answers[5] == (503, "too many frames wait at this cluster; ask again later or ask another")

    asyncio.run(run())


def test_a_reply_that_does_not_come_is_given_up_and_not_asked_for_again():
    async def run():
        replicas = Replicas()
        replicas.gate.clear()
        dispatcher = Dispatcher(replicas.call, timeout_s=0.05)
        answers = await dispatched(dispatcher, [b"a"] * 5)
        assert answers == [(503, "no replica answered within 0.05 s; ask again later")] * 5
        replicas.gate.set()
        assert await dispatched(dispatcher, [b"b"]) == [b"b"]
        assert [b"a", b"a"] not in replicas.calls  # the two that still waited have nobody left

    asyncio.run(run())


def test_a_client_with_many_requests_does_not_hold_up_another():
    async def run():
        replicas = Replicas()
        replicas.gate.clear()
        dispatcher = Dispatcher(replicas.call)

        def of(address, body):
            return ForwardedRequest({**SCOPE, "client": (address, 7)}, body)

        many = [asyncio.ensure_future(dispatcher.dispatch(of("10.0.0.1", b"m"))) for _ in range(200)]
        await until_async(lambda: dispatcher.waiting_requests == 197)
        one = asyncio.ensure_future(dispatcher.dispatch(of("10.0.0.2", b"o")))
        await until_async(lambda: dispatcher.waiting_requests == 198)
        replicas.gate.set()
        await asyncio.gather(one, *many)
        assert b"o" in replicas.calls[3]  # the first after those on their way

    asyncio.run(run())
