"""Connections with bounds: how many there may be, how long a client may take, how large the head of a request may be.

uvicorn ends a connection that is idle between two requests, and host/app.py bounds the time for a body. Between them a
client could hold a connection for ever: by a TLS handshake or a head that never ends, by one more line break after each
answer, by a body that nobody waits for any more, or by not reading its answers.
"""

import asyncio
import functools
import ipaddress
import json
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.utils import get_remote_addr

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

SPARE_FILES = 128  # for everything that is not a connection

Refused = Callable[[int, str], None]
"""Told of each refusal: the HTTP status, 0 for a connection closed without an answer, and the reason as one word."""


class ConnectionLimits(NamedTuple):
    """most: open connections, and of_one_address; with IPv6 of the first 64 bits, all of which one client usually has.
    patience_s: for the TLS handshake and for the head of a request to come, and for answers to be read. head_bytes: of a
    request."""

    most: int = 4096
    of_one_address: int = 256
    patience_s: float = 10.0
    head_bytes: int = 64 << 10


def bounded_protocol(
    limits: ConnectionLimits, refused: Refused | None = None, tls: ssl.SSLContext | None = None
) -> type[HttpToolsProtocol]:
    """uvicorn's HTTP/1.1 protocol within limits, for uvicorn.Config(http=bounded_protocol(limits)); its connections count
    together. Raises the soft limit of open files where that is too low, and lowers ``limits.most`` where it stays so.

    Args:
        refused: told of each refusal: 408 head_timeout, 431 head_bytes, and 0 for connections, address_connections (too
            many), handshake (failed or too late), unread (the client does not read).
        tls: for https. Given here, not to uvicorn, so that connections count before their handshake. The application finds
            the common name of the client's certificate, if the context asks for one, as request.state.certificate.
    """
    limits = limits._replace(most=min(limits.most, _open_files(limits.most + SPARE_FILES) - SPARE_FILES))
    open_ = _Open(limits)
    made = functools.partial(_Bounded, open_, refused or (lambda _status, _reason: None), tls)
    return cast(type[HttpToolsProtocol], made)


class _Open:
    """How many connections there are."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._all = 0
        self._of: dict[str, int] = {}

    def enter(self, client: str) -> str:
        """Count one, or say which limit it is beyond."""
        of_client = self._of.get(client, 0)
        if self._all >= self.limits.most:
            return "connections"
        if client and of_client >= self.limits.of_one_address:
            return "address_connections"
        self._all += 1
        self._of[client] = of_client + 1
        return ""

    def leave(self, client: str) -> None:
        self._all -= 1
        self._of[client] -= 1
        if not self._of[client]:
            del self._of[client]


class _Bounded(HttpToolsProtocol):
    def __init__(
        self, open_: _Open, refused: Refused, tls: ssl.SSLContext | None, *arguments: Any, **more: Any
    ) -> None:
        super().__init__(*arguments, **more)
        self._open = open_
        self._limits = open_.limits
        self._refused = refused
        self._tls = tls
        self._counts_as: str | None = None
        self._plain: asyncio.Transport | None = None  # below TLS
        self._handshake: asyncio.Task[None] | None = None
        self._early = b""  # what came behind the handshake before its task went on
        self._head_bytes = 0  # of a head that has not ended
        self._data_bytes = 0  # that came last
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        client = network_of((get_remote_addr(transport) or ("",))[0])
        reason = self._open.enter(client)
        if reason:
            self._refused(0, reason)
            transport.abort()
            return
        self._counts_as = client
        self._head_timer = self.loop.call_later(self._limits.patience_s, self._head_is_late)
        if self._tls is None:
            self._begin(transport)
            return
        self._plain = transport
        self.connections.add(self)  # so that shutdown() is called when the server stops
        # Its first step now, not in a task: uvloop reads at once, and TLS must be there by then.
        handshake = self._start_tls(transport, self._tls)
        waiter = handshake.send(None)
        waiter.add_done_callback(lambda _: self._go_on(handshake))

    def _go_on(self, handshake: Coroutine[Any, None, None]) -> None:
        self._handshake = self.loop.create_task(handshake)

    async def _start_tls(self, plain: asyncio.Transport, tls: ssl.SSLContext) -> None:
        try:
            secure = await self.loop.start_tls(plain, self, tls, server_side=True)
        except OSError:  # ssl.SSLError is one
            secure = None
        if secure is None or secure.is_closing() or self._counts_as is None:
            self._end_handshake(plain)
            return
        self._begin(secure)
        if self._early:
            self.data_received(self._early)

    def _end_handshake(self, plain: asyncio.Transport) -> None:
        if self._counts_as is not None:
            self._refused(0, "handshake")
        plain.abort()
        self._leave()  # uvloop tells nobody that a connection was lost in its handshake

    def _begin(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        subject = (transport.get_extra_info("peercert") or {}).get("subject", ())
        name = next((value for part in subject for key, value in part if key == "commonName"), None)
        if name:
            self.app_state = {**self.app_state, "certificate": name}

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        if self.transport is not None:
            super().connection_lost(exc)

    def _leave(self) -> None:
        self.connections.discard(self)
        for timer in (self._head_timer, self._write_timer):
            if timer:
                timer.cancel()
        if self._counts_as is not None:
            self._open.leave(self._counts_as)
            self._counts_as = None

    def shutdown(self) -> None:
        if self.transport is not None:
            super().shutdown()
        elif self._plain is not None:
            self._end_handshake(self._plain)

    def data_received(self, data: bytes) -> None:
        if self.transport is None:
            self._early += data
            return
        self._data_bytes = len(data)
        super().data_received(data)
        if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            # Part of a head, or what nobody waits for: line breaks, the rest of a body whose request has its answer.
            # uvicorn has stopped its clock for idle connections.
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes:
                self._refuse(431, "head_bytes", self._too_large())
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(self._limits.patience_s, self._head_is_late)

    def on_headers_complete(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        came = self._head_bytes + self._data_bytes  # of the head and what is behind it
        self._head_bytes = 0
        if (
            came <= self._limits.head_bytes
            or len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            <= self._limits.head_bytes
        ):
            super().on_headers_complete()
            return
        self._refused(431, "head_bytes")
        app, self.app, self.url = self.app, cast(Any, _Answer(431, self._too_large())), b"/"
        super().on_headers_complete()
        self.app = app

    def _too_large(self) -> str:
        return f"found more than {self._limits.head_bytes} bytes in the head of a request; expected fewer; send shorter headers"

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport is None:
            if self._plain is not None:
                self._end_handshake(self._plain)
        elif not self._head_bytes:
            self._refused(408, "head_timeout")
            self.transport.close()
        else:
            self._refuse(408, "head_timeout", f"found no end of a request's head within {self._limits.patience_s:g} s; expected all of it; send it again")  # fmt: skip

    def _refuse(self, status: int, reason: str, sentence: str) -> None:
        self._refused(status, reason)
        body, headers = _error(sentence)
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self.transport.close()
        self._watch_writing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.flow.resume_reading()  # TLS ends when the client says so, which a large body may have left unread
            self._watch_writing()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer and not self.transport.is_closing():
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_writing()

    def _watch_writing(self) -> None:
        """The transport closes only once the client has read all of what it holds; so it gets a time for that."""
        if self._write_timer is None and self._counts_as is not None:
            self._write_timer = self.loop.call_later(self._limits.patience_s, self._unread)

    def _unread(self) -> None:
        self._refused(0, "unread")
        self.transport.abort()


class _Answer:
    """An ASGI application that answers one error."""

    def __init__(self, status: int, sentence: str) -> None:
        self._status = status
        self._body, self._headers = _error(sentence)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


def _error(sentence: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    body = json.dumps({"error": sentence}).encode()
    length = str(len(body)).encode()
    return body, [(b"content-type", b"application/json"), (b"content-length", length), (b"connection", b"close")]


@functools.lru_cache(8192)
def network_of(address: str) -> str:
    """What counts as one client's address: of IPv6 its first 64 bits, all of which one client usually has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address) or parsed.is_loopback:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def _open_files(wanted: int) -> int:
    if resource is None:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft
