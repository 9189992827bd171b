"""Connections with bounds: how many, how long a request's head may take to come, how large it may be."""

from collections.abc import Callable
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Refused = Callable[[int, str], None]
"""Told of each refusal: the HTTP status, 0 for a connection closed without an answer, and a reason of one word."""


class ConnectionLimits(NamedTuple):
    """most: open connections. of_one_address: of one client's address. head_timeout_s: for the head of a request to come.
    head_bytes: of a request's head."""

    most: int = 4096
    of_one_address: int = 256
    head_timeout_s: float = 10.0
    head_bytes: int = 64 << 10


def bounded_protocol(limits: ConnectionLimits, refused: Refused | None = None) -> type[HttpToolsProtocol]:
    """uvicorn's HTTP/1.1 protocol with these limits: uvicorn.Config(http=bounded_protocol(limits))."""
    return HttpToolsProtocol
