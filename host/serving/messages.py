"""HTTP/1.1 messages within bounds: what one connection may send, and what its client is told when it sends more.

uvicorn bounds neither the head of a request, nor what surrounds a body in chunks, nor the requests that wait on a connection
for the answer to the one before. Whatever goes beyond a bound ends the connection: the parser stops in the middle of what has
arrived, answers that are still due are given first, and the reason is the last answer.
"""

import asyncio
import json
from typing import Any

import httptools

from host.serving.discard import DiscardRate
from host.serving.early_answers import BoundedAnswers
from host.serving.limits import ConnectionLimits, Refused, Warn

PIECES, PIECE_BYTES = 1024, 32  # a body may come in so many pieces, and in one more for every so many bytes of it
FRAMING_BYTES = 16 << 10  # for chunk sizes, extensions and trailers, in addition to an eighth of the body


class BoundedMessages(BoundedAnswers):
    """uvicorn's protocol with bounds for each message and its answer.

    Fields behind a body (trailers, RFC 9112, section 7.1.2) are dropped: whoever decides by a field of the head must not find
    one that came later.

    Args:
        limits: the bounds.
        discards: bound on what all connections send of requests that have their answers.
        refused: called for each refusal: 400 malformed, framing; 408 head_timeout; 429 pipelined; 431 head_bytes; 0 unread.
        warn: called for each refusal with a sentence. Anyone can cause refusals, so it should not write all of them.
        arguments, more: those of uvicorn's protocol.
    """

    def __init__(self, limits: ConnectionLimits, discards: DiscardRate, refused: Refused, warn: Warn, *arguments: Any, **more: Any) -> None:  # fmt: skip
        super().__init__(limits, discards, refused, warn, *arguments, **more)
        self._in_body = False
        self._heads = 0  # number of heads that have ended
        self._head_bytes = 0  # of a head that has not ended
        self._data_bytes = 0  # that arrived last
        self._body_bytes = self._pieces = self._framing_bytes = 0  # of the body at hand
        self._last_words: bytes | None = None  # set once nothing more is taken from this client
        self._head_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if self._last_words is not None:
            return
        heads, was_in_body, body_bytes = self._heads, self._in_body, self._body_bytes
        self._data_bytes = len(data)
        try:
            super().data_received(data)
        except httptools.HttpParserUpgrade:
            self._last_words = b""  # the parser drops what is behind the head, so no request can follow
            self.close_after_answers()
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
        # a part of a head, or line breaks before it
        self._head_bytes += len(data)
        if self._head_bytes > self._limits.head_bytes:
            self._stop_head()
        elif self.is_idle:
            self._watch_head()

    # Methods that the parser calls. An exception in one of them stops the parser there.

    def on_message_begin(self) -> None:
        if self.waiting_requests >= self._limits.pipelined:
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
        arrived = self._head_bytes + self._data_bytes  # the head and what is behind it
        if arrived > self._limits.head_bytes and self.head_size > self._limits.head_bytes:
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

    # The end of a connection

    def _stop_head(self) -> None:
        self._stop(431, "head_bytes", f"found more than {self._limits.head_bytes} bytes in the head of a request; expected fewer; send shorter headers")  # fmt: skip

    def _stop_framing(self) -> None:
        self._stop(400, "framing", "found a body in chunks of a few bytes, or with long trailers; expected chunks of at least 64 bytes; send larger ones, or a Content-Length")  # fmt: skip

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._stop(408, "head_timeout", f"found no end of a request's head within {self._limits.patience_s:g} s; expected all of it; send it again")  # fmt: skip
        else:
            self.note(408, "head_timeout", f"found no request within {self._limits.patience_s:g} s")
            self.transport.close()

    def _stop(self, status: int, reason: str, sentence: str) -> None:
        """Take nothing more from this client, and say why once all answers before that are given."""
        self.note(status, reason, sentence)
        self._last_words = self._error_answer(status, sentence)
        self.end_discard()
        if self._in_body and not self.is_idle:
            begun = self.has_begun_answer
            if self.give_up_newest_request():
                if begun:
                    self._last_words = b""
                self._end()
        elif self.is_idle:
            self._end()

    def _end(self) -> None:
        self.transport.write(self._last_words or b"")
        self.transport.close()
        self.watch_writing()

    def _error_answer(self, status: int, sentence: str) -> bytes:
        body = json.dumps({"error": sentence}).encode()
        return self.status_line(status) + b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body)  # fmt: skip

    def on_response_complete(self) -> None:
        was_last = not self.waiting_requests
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if was_last and self._last_words is not None:
            self._end()
        elif was_last and self._head_bytes:
            self._watch_head()

    def stop_timers(self) -> None:
        super().stop_timers()
        if self._head_timer:
            self._head_timer.cancel()

    def _watch_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.patience_s, self._head_is_late)


class _Stopped(Exception):
    """Stops the parser in the middle of what has arrived."""
