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

from host.serving.clients import network_of
from host.serving.discard import DiscardRate
from host.serving.limits import ConnectionLimits, Refused, Warn
from host.serving.messages import BoundedMessages
from host.serving.open_connections import OpenConnections
from host.serving.uvicorn_protocol import UvicornProtocol


def bounded_protocol(
    limits: ConnectionLimits,
    refused: Refused | None = None,
    tls: ssl.SSLContext | None = None,
    warn: Warn | None = None,
) -> type[UvicornProtocol]:
    """uvicorn's HTTP/1.1 protocol within limits, for uvicorn.Config(http=bounded_protocol(limits)). All connections that it
    makes are counted together.

    Args:
        limits: the limits.
        refused: called for each refusal: those of host/serving/messages.py, and 0 for connections and address_connections (too
            many) and for handshake (failed or too late).
        tls: for https. It is given here and not to uvicorn, so that connections count before their handshake. The application
            finds the common name of the client's certificate, if the context asks for one, as request.state.certificate.
        warn: called for each refusal with a sentence. Anyone can cause refusals, so it should not write all of them.
    """
    made = functools.partial(
        _BoundedConnection, OpenConnections(limits), tls, limits, DiscardRate(), refused or _ignore, warn or _ignore
    )
    return cast(type[UvicornProtocol], made)


def _ignore(*_what: Any) -> None:
    pass


class _BoundedConnection(BoundedMessages):
    """One connection. A TLS handshake runs before uvicorn learns of the connection."""

    def __init__(self, open_: OpenConnections, tls: ssl.SSLContext | None, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._open = open_
        self._tls = tls
        self._counts_as: str | None = None  # client as which this connection is counted
        self._plain: asyncio.Transport | None = None  # transport below TLS
        self._handshake: asyncio.Task[None] | None = None
        self._was_ended = False  # by this host, before the handshake was done
        self._early = b""  # data behind the handshake that arrived before its task went on

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.client = self.address_of(transport)
        client = network_of((self.client or ("",))[0])
        reason = self._open.enter(self, client)
        if reason:
            most, option, whose = (
                (self._limits.most, "--max-connections", "")
                if reason == "connections"
                else (self._limits.of_one_address, "--client-connections", f" of {client}")
            )
            self.note(0, reason, f"found {most} open connections{whose}; expected no more; close some, or raise {option}")  # fmt: skip
            transport.abort()
            return
        self._counts_as = client
        self._watch_head()
        if self._tls is None:
            self._begin(transport)
            return
        self._plain = transport
        self.connections.add(self)  # so that shutdown() is called when the server stops
        # The first step of the handshake is made here and not in a task: uvloop reads at once, and TLS must be there by then.
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
            self.note(0, "handshake", f"its TLS handshake failed ({why})")
        plain.abort()
        self._leave()  # uvloop does not report that a connection was lost during its handshake

    def _begin(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        subject = (transport.get_extra_info("peercert") or {}).get("subject", ())
        name = next((value for part in subject for key, value in part if key == "commonName"), None)
        if name:
            self.add_to_state("certificate", name)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        if self.transport is not None:
            super().connection_lost(exc)

    def _leave(self) -> None:
        self.connections.discard(self)
        self.stop_timers()
        if self._counts_as is not None:
            self._open.leave(self, self._counts_as)
            self._counts_as = None

    def make_room(self) -> None:
        self._was_ended = True
        if not self._discard:  # otherwise the client has its answer, and was told with it that the connection ends
            self.note(0, "connections", f"found {self._limits.most} open connections and no request on this one yet; expected one at once; send it, or raise --max-connections")  # fmt: skip
        for transport in (self.transport, self._plain):
            if transport is not None:
                transport.abort()
        self._leave()

    def on_headers_complete(self) -> None:
        if not self._heads:
            self._open.has_asked(self)
        super().on_headers_complete()

    def discard_begins(self) -> None:
        if self._counts_as is not None:
            self._open.has_answer(self, self._counts_as)

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
    """What OpenSSL found, in its words, without the place in its source code."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or type(error).__name__
