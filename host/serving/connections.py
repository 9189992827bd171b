"""Connections with bounds: how many there may be, and how long a client may take for its TLS handshake.

uvicorn ends a connection that is idle between two requests, and host/app/routes.py bounds the time for a body. Between them a
client could hold a connection for ever: by a TLS handshake or a head that never ends, by one more line break after each
answer, by a body that nobody waits for any more, or by not reading its answers.
"""

import asyncio
import functools
import ssl
from collections.abc import Coroutine
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_remote_addr

from host.serving.limits import ConnectionLimits, Refused, Warn, network_of
from host.serving.messages import BoundedMessages


def bounded_protocol(
    limits: ConnectionLimits,
    refused: Refused | None = None,
    tls: ssl.SSLContext | None = None,
    warn: Warn | None = None,
) -> type[HttpToolsProtocol]:
    """uvicorn's HTTP/1.1 protocol within limits, for uvicorn.Config(http=bounded_protocol(limits)); its connections count
    together.

    Args:
        refused: told of each refusal: those of host/serving/messages.py, and 0 for connections, address_connections (too many) and
            handshake (failed or too late).
        tls: for https. Given here, not to uvicorn, so that connections count before their handshake. The application finds
            the common name of the client's certificate, if the context asks for one, as request.state.certificate.
        warn: told of the same in sentences; anyone can cause them, so it should not write each.
    """
    made = functools.partial(_Bounded, _Open(limits), refused or _tell_nobody, warn or _tell_nobody, tls)
    return cast(type[HttpToolsProtocol], made)


def _tell_nobody(*_what: Any) -> None:
    pass


class _Open:
    """How many connections there are, and which of them have not sent a request yet."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._all = 0
        self._of: dict[str, int] = {}
        self._silent: dict[_Bounded, None] = {}  # the oldest first

    def enter(self, connection: "_Bounded", client: str) -> str:
        """Count one, or say which limit it is beyond. If there are too many in all, the oldest one that has not sent a
        request makes room: whoever holds connections open without asking keeps nobody out."""
        of_client = self._of.get(client, 0)
        if client and of_client >= self.limits.of_one_address:
            return "address_connections"
        if self._all >= self.limits.most:
            if not self._silent:
                return "connections"
            next(iter(self._silent)).make_room()
        self._all += 1
        self._of[client] = self._of.get(client, 0) + 1
        self._silent[connection] = None
        return ""

    def asked(self, connection: "_Bounded") -> None:
        """It has sent a request."""
        self._silent.pop(connection, None)

    def leave(self, connection: "_Bounded", client: str) -> None:
        self._silent.pop(connection, None)
        self._all -= 1
        self._of[client] -= 1
        if not self._of[client]:
            del self._of[client]


class _Bounded(BoundedMessages):
    def __init__(
        self, open_: _Open, refused: Refused, warn: Warn, tls: ssl.SSLContext | None, *arguments: Any, **more: Any
    ) -> None:
        super().__init__(open_.limits, refused, warn, *arguments, **more)
        self._open = open_
        self._tls = tls
        self._counts_as: str | None = None
        self._plain: asyncio.Transport | None = None  # below TLS
        self._handshake: asyncio.Task[None] | None = None
        self._was_ended = False  # by this host, before its handshake was done
        self._early = b""  # what came behind the handshake before its task went on

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.client = get_remote_addr(transport)
        client = network_of((self.client or ("",))[0])
        reason = self._open.enter(self, client)
        if reason:
            most, option, whose = (
                (self._limits.most, "--max-connections", "")
                if reason == "connections"
                else (self._limits.of_one_address, "--client-connections", f" of {client}")
            )
            self._note(0, reason, f"found {most} open connections{whose}; expected no more; close some, or raise {option}")  # fmt: skip
            transport.abort()
            return
        self._counts_as = client
        self._watch_head()
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
        why = "it was cut off"
        try:
            secure = await self.loop.start_tls(plain, self, tls, server_side=True)
        except OSError as error:  # ssl.SSLError is one
            secure, why = None, _reason(error)
        if secure is None or secure.is_closing() or self._counts_as is None:
            self._end_handshake(plain, why)
            return
        self._begin(secure)
        if self._early:
            self.data_received(self._early)

    def _end_handshake(self, plain: asyncio.Transport, why: str) -> None:
        if not self._was_ended:
            self._was_ended = True
            self._note(0, "handshake", f"its TLS handshake failed ({why})")
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
        self._stop_timers()
        if self._counts_as is not None:
            self._open.leave(self, self._counts_as)
            self._counts_as = None

    def make_room(self) -> None:
        """End, for another connection."""
        self._was_ended = True
        self._note(0, "connections", f"found {self._limits.most} open connections and no request on this one yet; expected one at once; send it, or raise --max-connections")  # fmt: skip
        for transport in (self.transport, self._plain):
            if transport is not None:
                transport.abort()
        self._leave()

    def on_headers_complete(self) -> None:
        if not self._heads:
            self._open.asked(self)
        super().on_headers_complete()

    def shutdown(self) -> None:
        if self.transport is not None:
            super().shutdown()
        elif self._plain is not None:
            self._end_handshake(self._plain, "the host stops")

    def data_received(self, data: bytes) -> None:
        if self.transport is None:
            self._early += data
        else:
            super().data_received(data)

    def _head_is_late(self) -> None:
        if self.transport is not None:
            super()._head_is_late()
        elif self._plain is not None:
            self._head_timer = None
            self._end_handshake(self._plain, f"it was not done within {self._limits.patience_s:g} s")


def _reason(error: OSError) -> str:
    """What OpenSSL found, in its words, without where in its source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or type(error).__name__
