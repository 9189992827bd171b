"""HTTP/1.1 messages within bounds: what one connection may send, and what it is told when it sends more.

uvicorn bounds neither the head of a request, nor what surrounds a body in chunks, nor the requests that wait on a
connection for the answer to the one before. Whatever goes beyond a bound ends the connection: the parser stops in the
middle of what came, answers that are still due are given first, and the reason is the last answer.
"""

import asyncio
import json
from typing import Any, cast

import httptools
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from host.serving.limits import ConnectionLimits, Refused, Warn
from host.serving.linger import linger

PIECES, PIECE_BYTES = 1024, 32  # a body may come in so many pieces, and one more for every so many bytes of it
FRAMING_BYTES = 16 << 10  # sizes of chunks, extensions and trailers, beside an eighth of the body


class BoundedMessages(HttpToolsProtocol):
    """uvicorn's protocol, of which each message has bounds.

    Fields behind a body (trailers, RFC 9112, section 7.1.2) are dropped: whoever decides by a field of the head must not
    find one that came later. An answer that is given before the whole request was read closes the connection, after what
    still comes was read for a while.

    Args:
        refused: told of each refusal: 400 malformed, framing; 408 head_timeout; 429 pipelined; 431 head_bytes; 0 unread.
        warn: told the same in a sentence; it should leave out what it was told before, because anyone can cause it.
    """

    def __init__(self, limits: ConnectionLimits, refused: Refused, warn: Warn, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._application, self.app = self.app, cast(Any, self._answer)
        self._limits = limits
        self._refused = refused
        self._warn = warn
        self._in_body = False
        self._heads = 0  # that have ended
        self._head_bytes = 0  # of a head that has not ended
        self._data_bytes = 0  # that came last
        self._body_bytes = self._pieces = self._framing_bytes = 0  # of the body at hand
        self._last_words: bytes | None = None  # once nothing more is taken from this client
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if self._last_words is not None:
            return
        self._unset_keepalive_if_required()
        heads, was_in_body, body_bytes = self._heads, self._in_body, self._body_bytes
        self._data_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._last_words = b""  # what is behind the head is dropped by the parser: no request can follow
            self.cycle.keep_alive = False
            return
        except httptools.HttpParserError as error:
            if self._last_words is None:
                self._stop(400, "malformed", f"found no HTTP/1.1 request ({str(error)[:100]}); expected one; send it as RFC 9112 says")  # fmt: skip
            return
        if heads != self._heads:
            return
        if was_in_body:
            self._framing_bytes += len(data) - (self._body_bytes - body_bytes)
            if self._in_body and self._framing_bytes > FRAMING_BYTES + self._body_bytes // 8:
                self._stop_framing()
            return
        # part of a head, or line breaks before it
        self._head_bytes += len(data)
        if self._head_bytes > self._limits.head_bytes:
            self._stop_head()
        elif self.cycle is None or self.cycle.response_complete:
            self._watch_head()

    # what the parser calls; an exception stops it there

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= self._limits.pipelined:
            sentence = f"found more than {self._limits.pipelined} requests on one connection that wait for their answers; expected fewer; read answers before you send more"  # fmt: skip
            self._stop(429, "pipelined", sentence)
            raise _Stopped
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            self._count_piece(0)
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        came = self._head_bytes + self._data_bytes  # of the head and what is behind it
        most = self._limits.head_bytes
        if came > most and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > most:
            self._stop_head()
            raise _Stopped
        self._head_bytes = 0
        self._heads += 1
        self._body_bytes = self._pieces = self._framing_bytes = 0
        super().on_headers_complete()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._count_piece(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def _count_piece(self, size: int) -> None:
        self._body_bytes += size
        self._pieces += 1
        if self._pieces > PIECES + self._body_bytes // PIECE_BYTES:
            self._stop_framing()
            raise _Stopped

    # the end of a connection

    def _stop_head(self) -> None:
        self._stop(431, "head_bytes", f"found more than {self._limits.head_bytes} bytes in the head of a request; expected fewer; send shorter headers")  # fmt: skip

    def _stop_framing(self) -> None:
        self._stop(400, "framing", "found a body in chunks of a few bytes, or with long trailers; expected chunks of at least 64 bytes; send larger ones, or a Content-Length")  # fmt: skip

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._stop(408, "head_timeout", f"found no end of a request's head within {self._limits.patience_s:g} s; expected all of it; send it again")  # fmt: skip
        else:
            self._note(408, "head_timeout", f"found no request within {self._limits.patience_s:g} s")
            self.transport.close()

    def _stop(self, status: int, reason: str, sentence: str) -> None:
        """Take nothing more; say why once all answers before that are given."""
        self._note(status, reason, sentence)
        self._last_words = _error(status, sentence)
        cycle = self.cycle
        if self._in_body and not cycle.response_complete:  # a request that will never be whole
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()  # the newest; its turn has not come
            else:
                if cycle.response_started:
                    self._last_words = b""
                cycle.disconnected = True
                cycle.message_event.set()
                self._end()
        elif cycle is None or cycle.response_complete:
            self._end()

    def _end(self) -> None:
        self.transport.write(self._last_words or b"")
        self.transport.close()
        self._watch_writing()

    def _note(self, status: int, reason: str, sentence: str) -> None:
        self._refused(status, reason)
        self._warn(f"closed a connection of {self.client[0] if self.client else 'a client'}: {sentence}")

    # answers

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application; its answer closes the connection if the request has not come as a whole by then, since what
        still comes would be taken for another request."""
        cycle = cast(RequestResponseCycle, cast(Any, send).__self__)
        if not cycle.more_body:
            await self._application(scope, receive, send)  # type: ignore[arg-type]
            return
        early = False

        async def watched(message: Message) -> None:
            nonlocal early
            if message["type"] == "http.response.start":
                early = cycle.more_body
                if early:
                    cycle.keep_alive = False
            elif early and not message.get("more_body"):
                await send({**message, "more_body": True})
                await linger(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._application(scope, receive, watched)  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        was_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            self.flow.resume_reading()  # TLS ends when the client says so, which a large body may have left unread
            self._watch_writing()
        elif was_last and self._last_words is not None:
            self._end()
        elif was_last and self._head_bytes:
            self._watch_head()

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

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.patience_s, self._head_is_late)

    def _watch_writing(self) -> None:
        """The transport closes only once the client has read all of what it holds; so it gets a time for that."""
        if self._write_timer is None and self.parser is not None:
            self._write_timer = self.loop.call_later(self._limits.patience_s, self._unread)

    def _unread(self) -> None:
        self._note(0, "unread", f"found answers that were not read within {self._limits.patience_s:g} s")
        self.transport.abort()

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._write_timer):
            if timer:
                timer.cancel()


class _Stopped(Exception):
    """Stops the parser in the middle of what came."""


def _error(status: int, sentence: str) -> bytes:
    body = json.dumps({"error": sentence}).encode()
    return STATUS_LINE[status] + b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body)  # fmt: skip
