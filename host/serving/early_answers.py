"""Answers that end a connection: those given before the whole request has arrived, and those that nobody reads.

To close a connection while its client still sends would reset it, and many clients would then report the reset instead of the
answer. So the host reads on for a while and drops what it reads (host/serving/discard.py).
"""

import asyncio
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from host.serving.discard import Discard, DiscardRate
from host.serving.limits import ConnectionLimits, Refused, Warn
from host.serving.uvicorn_protocol import Exchange, UvicornProtocol


class BoundedAnswers(UvicornProtocol):
    """uvicorn's protocol, with a bound on the time in which answers must be read, and with early answers that close the
    connection and yet reach their client.

    Args:
        limits: the bounds.
        discards: bound on what all connections send of requests that have their answers.
        refused: called for each refusal: 0 unread.
        warn: called for each refusal with a sentence. Anyone can cause refusals, so it should not write all of them.
        arguments, more: those of uvicorn's protocol.
    """

    def __init__(self, limits: ConnectionLimits, discards: DiscardRate, refused: Refused, warn: Warn, *arguments: Any, **more: Any) -> None:  # fmt: skip
        super().__init__(self._answer, *arguments, **more)
        self._limits = limits
        self._discards = discards
        self._refused = refused
        self._warn = warn
        self._discard: Discard | None = None  # set while the rest of a request is dropped
        self._write_timer: asyncio.TimerHandle | None = None

    async def _answer(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application. If its answer begins before the whole request has arrived, that closes the connection, because
        the rest of the request would be taken for another one."""
        if not exchange.is_body_due:
            await self.application(scope, receive, send)
            return
        is_early = False

        async def send_and_close(message: Message) -> None:
            nonlocal is_early
            if message["type"] == "http.response.start":
                is_early = exchange.is_body_due
                if is_early:
                    exchange.close_after_answer()
            elif is_early and not message.get("more_body"):
                await send({**message, "more_body": True})
                exchange.drop_body()
                if exchange.is_body_due and self.is_connected:
                    await self._discard_rest()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self.application(scope, receive, send_and_close)

    async def _discard_rest(self) -> None:
        self._discard = Discard(self.loop)
        self.discard_begins()
        self._count_discarded(0)
        try:
            await self._discard.finished
        finally:
            self._discard.end()
            self._discard = None

    def discard_begins(self) -> None:
        """Called when the client has its answer, but has not sent its whole request. For subclasses."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._count_discarded(len(data))

    def on_body(self, body: bytes) -> None:
        if not self._discard:
            super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._discard:
            self._discard.end()

    def _count_discarded(self, size: int) -> None:
        """Count what was dropped, and read on when it is this connection's time to do so."""
        if not self._discard or not self.is_connected:
            return
        self._discard.count(size)
        pause_s = self._discards.pause_s(size)
        if pause_s:
            self.pause_reading()
            self.loop.call_later(pause_s, self._read_on)
        else:
            self.resume_reading()

    def _read_on(self) -> None:
        if self._discard and self.is_connected:
            self.resume_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.resume_reading()  # TLS ends when the client says so, which a large body may have left unread
            self.watch_writing()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer and not self.transport.is_closing():
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.watch_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_timers()
        if self._discard:
            self._discard.end()
        super().connection_lost(exc)

    def watch_writing(self) -> None:
        """Give the client a time to read its answers: the transport closes only once it has sent all that it holds."""
        if self._write_timer is None and self.is_connected:
            self._write_timer = self.loop.call_later(self._limits.patience_s, self._is_unread)

    def _is_unread(self) -> None:
        self.note(0, "unread", f"found answers that were not read within {self._limits.patience_s:g} s")
        self.transport.abort()

    def stop_timers(self) -> None:
        if self._write_timer:
            self._write_timer.cancel()

    def end_discard(self) -> None:
        """Read nothing more of a request that has its answer."""
        if self._discard:
            self._discard.end()

    def note(self, status: int, reason: str, sentence: str) -> None:
        """Report that this connection is closed, and why."""
        self._refused(status, reason)
        self._warn(f"closed a connection of {self.client[0] if self.client else 'a client'}: {sentence}")
