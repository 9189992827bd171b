"""Keeps clients that send nothing from locking a device out of the live attacker, and brings refusals to clients that still send.

uvicorn documents neither its protocol's methods nor its attributes. PLACES lists those that are used here, and
tests/export/attacks/test_connections.py fails if a newer release has moved one of them. host/serving has bounds of its own
kind: there a client that has asked once keeps its place, because the places are many and each address has its share.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 32
HEAD_S = 5.0
LINGER_S = 2.0
PLACES: dict[str, tuple[str, ...]] = {
    "protocol": (
        "client", "conn", "connections", "cycle", "loop", "transport", "connection_made", "connection_lost", "data_received",
        "on_response_complete",
    ),
    "cycle": ("more_body", "response_complete"),
}  # fmt: skip
"""Attributes and methods that are used, of H11Protocol and of its RequestResponseCycle."""


class LingeringTransport:
    """A transport whose ``close`` lets a client that is still sending read its answer.

    Bytes that arrive at a socket that was closed make the system reset the connection, and the client then loses the answer that
    says why its request was refused. So this transport ends its own direction alone, and the connection ends when the client
    does so too, ``LINGER_S`` later at the latest. Its protocol discards what still comes.

    Args:
        transport: of asyncio.
        sends: whether the client may still be sending.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, sends: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._sends = sends
        self._lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._lingers or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if not (self._sends() and self._transport.can_write_eof()):
            self._transport.close()
            return
        self._lingers = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(LINGER_S, self._transport.abort)


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol with a bound on connections and a time limit for the head of a request. The application has a time limit
    for bodies. A client that is refused before it has sent everything gets its answer all the same.

    A connection beyond the bound replaces one that has not sent a whole request: of the address with the most connections, the
    one that has waited longest. So a client that holds many sockets open only loses its own.
    """

    most = MOST
    head_s = HEAD_S
    _timer: asyncio.TimerHandle | None = None
    _since_s = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(LingeringTransport(transport, self.loop, self._client_sends))  # type: ignore[arg-type]
        self._since_s = self.loop.time()
        self._start_timer()
        if len(self.connections) > self.most:
            self._take_a_place()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._answering():
            self._stop_timer()
        elif self._timer is None and not self.transport.is_closing():
            self._start_timer()

    def on_response_complete(self) -> None:
        self._since_s = self.loop.time()
        super().on_response_complete()

    def _take_a_place(self) -> None:
        others = [each for each in self.connections if isinstance(each, BoundedProtocol)]
        counts = Counter(each.client and each.client[0] for each in others)
        waiting = [each for each in others if not (each._answering() and not each.cycle.more_body)]
        loser = min(waiting, key=lambda each: (-counts[each.client and each.client[0]], each._since_s), default=self)
        self.connections.discard(loser)
        loser.transport.abort()

    def _client_sends(self) -> bool:
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.head_s, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
