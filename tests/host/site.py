"""A small application behind the guard and the bounded protocol, in a thread of its own."""

import asyncio
import contextlib
import http.client
import socket
import threading

import pytest
import uvicorn

from host.serving.guard_options import GuardOptions
from tests.host.waits import until

BOTH_LOOPS = pytest.mark.parametrize("serve", ["uvloop", "asyncio"], indirect=True)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Site:
    """Behind the guard: answers with the client's name once the body is there and ``gate`` is open. /large answers much."""

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.begun = 0
        self.paths = []
        self.received = []  # of each request: the names of its fields, once its body is there, and that body

    async def __call__(self, scope, receive, send):
        self.paths.append(scope["path"])
        if scope["path"] == "/unread":
            await answer(send, 404, b"no")
            return
        self.begun += 1
        more, body = True, b""
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.received.append(([name for name, _ in scope["headers"]], body))
        if not self.gate.is_set():
            await asyncio.to_thread(self.gate.wait, 20)
        name = scope.get("state", {}).get("client_name", "-")
        await answer(send, 200, b"x" * (16 << 20) if scope["path"] == "/large" else name.encode())


async def answer(send, status, body):
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Host:
    def __init__(self, loop, client_limits, limits, known, tls):
        self.site = Site()
        self.refusals = []
        self.said = []
        guard = GuardOptions(client_limits, known, limits, self.said.append)
        app = guard.wrap(self.site, self._refused)
        config = uvicorn.Config(
            app, http=guard.protocol(self._refused, tls), ws="none", loop=loop, lifespan="off", log_level="critical",
            timeout_keep_alive=5, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = listener.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, args=([listener],), daemon=True)
        self.thread.start()
        until(lambda: self.server.started)

    def _refused(self, status, reason):
        self.refusals.append((status, reason))

    def stop(self):
        self.site.gate.set()
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()
        assert not self.server.server_state.connections

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def ask(self, method="GET", path="/", token=None, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, body, {"Authorization": "Bearer " + token} if token else {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()


def closed_after(connection):
    """What came until the other side closed."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            received += part
    return received
