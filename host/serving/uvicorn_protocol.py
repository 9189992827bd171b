"""The only place that reaches into uvicorn's HTTP protocol, whose attributes and helpers uvicorn does not document.

host/serving/messages.py and host/serving/connections.py need more than uvicorn offers: they stop a connection in the middle
of a message and keep its answers in order. They use the names below alone. PLACES lists what is used of uvicorn, and
tests/host/serving/test_uvicorn_places.py fails if a newer release has moved one of these places.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_remote_addr

PLACES: dict[str, tuple[str, ...]] = {
    "protocol": (
        "app", "app_state", "client", "connections", "cycle", "flow", "headers", "loop", "parser", "pipeline", "transport",
        "_unset_keepalive_if_required", "timeout_keep_alive_handler", "on_response_complete", "on_message_begin", "on_header",
        "on_headers_complete", "on_body", "on_message_complete", "shutdown",
    ),
    "cycle": ("body", "disconnected", "keep_alive", "message_event", "more_body", "response_complete", "response_started", "send"),
    "flow": ("pause_reading", "resume_reading"),
}  # fmt: skip
"""Attributes and methods that are used, of the protocol, of its RequestResponseCycle and of its FlowControl."""

Answer = Callable[["Exchange", Scope, Receive, Send], Awaitable[None]]


class Exchange:
    """One request and its answer; a thin cover of uvicorn's RequestResponseCycle."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    @property
    def is_body_due(self) -> bool:
        """Whether the end of the body has not arrived yet."""
        return self._cycle.more_body

    def drop_body(self) -> None:
        """Free the memory of the part of the body that has arrived and that nobody has read."""
        self._cycle.body = bytearray()

    def close_after_answer(self) -> None:
        """Answer with ``Connection: close``, and close the connection behind the answer."""
        self._cycle.keep_alive = False


class UvicornProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with names for what the bounds of a connection need.

    Args:
        answer: answers each request in place of the application; it gets the Exchange and the three arguments of an ASGI
            application.
        arguments, more: those of HttpToolsProtocol.
    """

    def __init__(self, answer: Answer, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.application: Any = self.app

        async def answered(scope: Scope, receive: Receive, send: Send) -> None:
            cycle = cast(RequestResponseCycle, cast(Any, send).__self__)  # ``send`` is a method of the cycle
            await answer(Exchange(cycle), scope, receive, send)

        self.app = cast(Any, answered)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived. Unlike uvicorn's method it raises what httptools raises."""
        self._unset_keepalive_if_required()
        self.parser.feed_data(data)

    @property
    def waiting_requests(self) -> int:
        """Number of requests that wait for the answer to the one before."""
        return len(self.pipeline)

    @property
    def is_idle(self) -> bool:
        """Whether no answer is due."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_connected(self) -> bool:
        return self.parser is not None

    @property
    def head_size(self) -> int:
        """Number of bytes of the head at hand, as far as it has been parsed."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def close_after_answers(self) -> None:
        """Close the connection behind the answer to the newest request."""
        self.cycle.keep_alive = False

    def give_up_newest_request(self) -> bool:
        """Drop the newest request, whose body will never be whole. False if its turn has not come; then the answers before it
        are still due. True if it is the request that is being answered; then its application learns that the client has gone.
        """
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
            return False
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return True

    @property
    def has_begun_answer(self) -> bool:
        """Whether a part of the answer to the newest request has been sent."""
        return self.cycle.response_started

    def pause_reading(self) -> None:
        self.flow.pause_reading()

    def resume_reading(self) -> None:
        self.flow.resume_reading()

    def add_to_state(self, name: str, value: object) -> None:
        """Let the application find a value as ``request.state.NAME`` in all requests of this connection."""
        self.app_state = {**self.app_state, name: value}

    @staticmethod
    def address_of(transport: asyncio.Transport) -> tuple[str, int] | None:
        """Address and port of the client."""
        return get_remote_addr(transport)

    @staticmethod
    def status_line(status: int) -> bytes:
        """First line of an answer, with its line end."""
        return STATUS_LINE[status]
