"""Private places of uvicorn that export/attacks/connections.py uses. These tests fail when a newer release has moved one."""

import asyncio

import uvicorn
from uvicorn.server import ServerState

from export.attacks.connections import PLACES, BoundedProtocol
from tests.host.serving.test_uvicorn_places import Transport

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"


class Connection(BoundedProtocol):
    most = 2


def with_connections(count, application, scenario):
    """Run ``scenario`` with as many connections of one server, and the transport of each."""

    async def run():
        state = ServerState()
        config = uvicorn.Config(application, lifespan="off", ws="none", log_config=None)
        config.load()
        made = [(Connection(config=config, server_state=state, app_state={}), Transport()) for _ in range(count)]
        for protocol, transport in made:
            protocol.connection_made(transport)
            await asyncio.sleep(0)
        await scenario(made)
        for protocol, _ in made:
            protocol.connection_lost(None)

    asyncio.run(run())


async def never(_scope, _receive, _send):
    await asyncio.Event().wait()


async def answer(_scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def test_the_places_are_where_they_were():
    async def scenario(made):
        protocol = made[0][0]
        protocol.data_received(POST)
        for owner, names in (("protocol", protocol), ("cycle", protocol.cycle)):
            missing = [name for name in PLACES[owner] if not hasattr(names, name)]
            assert not missing, f"uvicorn {uvicorn.__version__} has no {missing} in its {owner} any more"
        assert (protocol.cycle.more_body, protocol.cycle.response_complete) == (True, False)

    with_connections(1, never, scenario)


def test_the_end_of_an_answer_is_seen():
    async def scenario(made):
        protocol, transport = made[0]
        protocol.data_received(POST + b"cd")
        await asyncio.gather(*protocol.tasks)
        assert transport.written.startswith(b"HTTP/1.1 200")
        assert protocol.cycle.response_complete

    with_connections(1, answer, scenario)


def test_a_connection_beyond_the_bound_ends_the_one_that_has_waited_longest():
    async def scenario(made):
        assert [transport.is_closing() for _, transport in made] == [True, False, False]
        assert [protocol in protocol.connections for protocol, _ in made] == [False, True, True]

    with_connections(3, never, scenario)
