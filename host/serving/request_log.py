"""What the log and the metrics learn about each request. Nothing of a frame, a token or a header is among it."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from host.serving.clients import network_of

REQUEST_LOG = "sdn_edge.request_log"  # key of the entry in an ASGI scope
CLIENT_GONE = 499  # status of a request whose client left before the answer; nginx uses the same number


class RequestLog:
    """What is known of one request for answers when it ends.

    Attributes:
        client: address and port of the client.
        name: name that belongs to the client's token or certificate; empty if the client showed neither.
        id: identifier that the client gave to the request.
        status: HTTP status, or CLIENT_GONE.
        frames: number of frames in the request.
        batch: number of frames in the batch in which the request ran.
        bytes: size of the body as it was received.
        exits: int64 (frames,), the exit at which each frame left, from 1; None if there was no answer.
        ms: milliseconds from the head of the request to the end of its answer.
    """

    __slots__ = ("batch", "bytes", "client", "exits", "frames", "id", "ms", "name", "status")

    def __init__(self, client: str = "-") -> None:
        self.client = client
        self.name = self.id = ""
        self.status = self.frames = self.batch = self.bytes = 0
        self.exits: np.ndarray | None = None
        self.ms = 0.0


class RequestLogMiddleware:
    """ASGI middleware that makes one RequestLog for each request for answers, refused requests included. The application
    finds it in the scope under REQUEST_LOG and fills in what it knows.

    Args:
        app: the application behind this middleware.
        receivers: functions that are called with each entry when its request ends.
    """

    def __init__(self, app: ASGIApp, receivers: Sequence[Callable[[RequestLog], None]]) -> None:
        self._app = app
        self._receivers = receivers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/infer"):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        host, port = scope.get("client") or ("-", 0)
        entry = scope[REQUEST_LOG] = RequestLog(f"{host}:{port}" if port else host)

        async def send_and_note_status(message: Message) -> None:
            if message["type"] == "http.response.start" and not entry.status:
                entry.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            entry.status = entry.status or 500
            entry.ms = (time.perf_counter() - started) * 1e3
            name = scope.get("state", {}).get("client_name", "")
            if name != network_of(host):  # host/serving/guard.py names a client by its address if it has no other name
                entry.name = name
            for receiver in self._receivers:
                receiver(entry)
