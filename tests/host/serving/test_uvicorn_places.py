"""Private places of uvicorn that host/serving/uvicorn_protocol.py and uvicorn_server.py use. These tests fail when a newer
release has moved one of them; the message says which."""

import asyncio
import inspect

import pytest
import uvicorn
from uvicorn.server import ServerState

from host.serving.uvicorn_protocol import PLACES, UvicornProtocol
from host.serving.uvicorn_server import HostServer, SideServer
from tests.host.site import GET

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"


class Transport(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self):
        super().__init__()
        self.written, self.closing = b"", False

    def write(self, data):
        self.written += bytes(data)

    def close(self):
        self.closing = True

    abort = close

    def is_closing(self):
        return self.closing

    def can_write_eof(self):
        return False

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


async def application(_scope, _receive, _send):
    raise AssertionError("nothing calls the application in place of the given function")


def with_protocol(answer, scenario):
    async def run():
        config = uvicorn.Config(application, lifespan="off", ws="none", log_config=None)
        protocol = UvicornProtocol(answer, config=config, server_state=ServerState(), app_state={})
        transport = Transport()
        protocol.connection_made(transport)
        await scenario(protocol, transport)

    asyncio.run(run())


async def nothing(_exchange, _scope, _receive, _send):
    await asyncio.Event().wait()


def test_the_places_are_where_they_were():
    async def scenario(protocol, _transport):
        protocol.data_received(POST)
        for owner, names in (("protocol", protocol), ("cycle", protocol.cycle), ("flow", protocol.flow)):
            missing = [name for name in PLACES[owner] if not hasattr(names, name)]
            assert not missing, f"uvicorn {uvicorn.__version__} has no {missing} in its {owner} any more"

    with_protocol(nothing, scenario)


def test_the_function_answers_in_place_of_the_application_and_knows_its_exchange():
    seen = []

    async def answer(exchange, scope, _receive, send):
        seen.append((scope["path"], exchange.is_body_due))
        exchange.drop_body()
        exchange.close_after_answer()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def scenario(protocol, transport):
        protocol.data_received(POST)
        await asyncio.gather(*protocol.tasks)
        assert seen == [("/", True)]
        assert protocol.cycle.body == b""
        assert transport.written.startswith(UvicornProtocol.status_line(200))
        assert b"connection: close" in transport.written
        assert transport.closing

    with_protocol(answer, scenario)


def test_requests_that_wait_are_counted_and_the_newest_can_be_given_up():
    async def scenario(protocol, _transport):
        assert protocol.is_idle
        protocol.data_received(GET + GET + POST)
        assert (protocol.is_idle, protocol.waiting_requests, protocol.has_begun_answer) == (False, 2, False)
        assert protocol.head_size > 10
        assert not protocol.give_up_newest_request()  # its turn has not come
        assert protocol.waiting_requests == 1

    with_protocol(nothing, scenario)


def test_a_request_that_is_given_up_while_it_is_answered_tells_the_application_that_its_client_has_gone():
    received = []

    async def answer(_exchange, _scope, receive, _send):
        while not received or received[-1]["type"] == "http.request":
            received.append(await receive())

    async def scenario(protocol, _transport):
        protocol.data_received(POST)
        await asyncio.sleep(0)
        assert protocol.give_up_newest_request()
        await asyncio.gather(*protocol.tasks)
        assert received[-1] == {"type": "http.disconnect"}

    with_protocol(answer, scenario)


def test_the_state_of_a_connection_reaches_the_application():
    async def answer(_exchange, scope, _receive, _send):
        seen.append(scope["state"]["certificate"])

    async def scenario(protocol, transport):
        protocol.add_to_state("certificate", "cam-1")
        protocol.data_received(GET)
        await asyncio.gather(*protocol.tasks)
        assert protocol.is_connected
        protocol.connection_lost(None)
        assert not protocol.is_connected

    seen = []
    with_protocol(answer, scenario)
    assert seen == ["cam-1"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("startup", ["self", "sockets"]), ("shutdown", ["self", "sockets"]), ("on_tick", ["self", "counter"]),
     ("run", ["self", "sockets"]), ("capture_signals", ["self"])],
)  # fmt: skip
def test_the_methods_of_the_server_are_where_they_were(name, parameters):
    assert name in vars(HostServer) or name in vars(SideServer)
    found = list(inspect.signature(getattr(uvicorn.Server, name)).parameters)
    assert found == parameters, f"uvicorn {uvicorn.__version__} has changed Server.{name}"


def test_the_configuration_can_be_loaded_before_the_start():
    server = HostServer(application, UvicornProtocol)
    server.import_all()
    assert server.config.loaded
