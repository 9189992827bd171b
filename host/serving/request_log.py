"""What is known of each request, for the log and the metrics. Nothing of a frame, a token or a header."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from host.serving.limits import network_of

RECORD = "sdn_edge.record"  # where an ASGI scope has it
GONE = 499  # the client went before its answer; what nginx writes for it


def address_of(scope: Scope) -> str:
    """The address of a request's client, with IPv6 the first 64 bits."""
    return network_of((scope.get("client") or ("",))[0])


def client_of(scope: Scope) -> str:
    """What host/serving/guard.py calls the client of a request; its address where nothing guards."""
    return str(scope.get("state", {}).get("client_name") or address_of(scope))


class Record:
    """A request for answers, when it ends.

    Attributes:
        client: its address and port.
        name: of its token or certificate; empty where it has shown none.
        id: what the client calls it.
        status: HTTP's, or 499 where the client went before the answer.
        frames: in it. batch: frames that ran together with it. bytes: of its body, as it came.
        exits: int64 (frames,), where they left; None without an answer.
        ms: from its head to its answer.
    """

    __slots__ = ("batch", "bytes", "client", "exits", "frames", "id", "ms", "name", "status")

    def __init__(self, client: str = "-") -> None:
        self.client = client
        self.name = self.id = ""
        self.status = self.frames = self.batch = self.bytes = 0
        self.exits: np.ndarray | None = None
        self.ms = 0.0


class Recorder:
    """ASGI middleware: a record for each request for answers, refused ones too; the application fills in what it knows.

    Args:
        app: behind it.
        tell: called with each record when its request ends.
    """

    def __init__(self, app: ASGIApp, tell: Sequence[Callable[[Record], None]]) -> None:
        self._app = app
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/infer"):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        host, port = scope.get("client") or ("-", 0)
        record = scope[RECORD] = Record(f"{host}:{port}" if port else host)

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start" and not record.status:
                record.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            record.status = record.status or 500
            record.ms = (time.perf_counter() - started) * 1e3
            name = scope.get("state", {}).get("client_name", "")
            if name != network_of(host):  # host/serving/guard.py calls a client without a name by its address
                record.name = name
            for tell in self._tell:
                tell(record)
