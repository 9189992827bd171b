"""One HTTP/1.1 connection to a host: opened when it is needed, kept open, every wait bounded by a deadline."""

import http.client
import math
import socket
import time
from typing import Callable, NamedTuple, Optional
from urllib.parse import urlsplit

from device.errors import HostError, UsageError
from device.wire import HEADER_LENGTH

MAX_ANSWER_BYTES = 1 << 20


class Endpoint(NamedTuple):
    """Where a host listens. ``authority`` is HOST:PORT as HTTP writes it."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        return "{}:{}".format("[" + self.host + "]" if ":" in self.host else self.host, self.port)


class Answer(NamedTuple):
    """header_length: of Inference-Header-Content-Length, as text; empty where there is none."""

    status: int
    header_length: str
    body: bytes


def endpoint_of(url: str) -> Endpoint:
    """Read http://HOST:PORT.

    Raises:
        UsageError: not such a URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
        raise UsageError("found --host {}; expected http://HOST:PORT".format(url))
    return Endpoint(parts.hostname, port)


def get_request(endpoint: Endpoint, path: str) -> bytes:
    """A whole GET request, after which the host closes."""
    return "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n".format(path, endpoint.authority).encode("ascii")


def post_head(endpoint: Endpoint, path: str) -> str:
    """The head of an infer request, with places for the length of its JSON header and that of its body."""
    return (
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/octet-stream\r\n".format(path, endpoint.authority)
        + HEADER_LENGTH
        + ": {}\r\nContent-Length: {}\r\n\r\n"
    )


class Connection:
    """A socket, and one exchange at a time over it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._socket: Optional[socket.socket] = None

    def is_open(self) -> bool:
        return self._socket is not None

    def shut(self) -> None:
        """Close; called from another thread it also ends an exchange that is under way."""
        open_, self._socket = self._socket, None
        if open_ is not None:
            try:
                open_.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was faster
            open_.close()

    def exchange(self, request: bytes, deadline_s: float, sent: Optional[Callable[[int], None]] = None) -> Answer:
        """Send a whole request in one piece and read the answer.

        Args:
            deadline_s: time.perf_counter() at which to give up.
            sent: called with the number of bytes once they are on their way.

        Raises:
            OSError, http.client.HTTPException: the connection failed, timed out or did not speak HTTP.
            HostError: an answer beyond MAX_ANSWER_BYTES.
        """
        connection = self._socket
        if connection is None:
            address = (self._endpoint.host, self._endpoint.port)
            connection = socket.create_connection(address, _remaining(deadline_s))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = connection
        connection.settimeout(_remaining(deadline_s))
        connection.sendall(request)
        if sent is not None:
            sent(len(request))
        connection.settimeout(_remaining(deadline_s))
        response = http.client.HTTPResponse(connection)
        try:
            response.begin()
            if response.length is not None and response.length > MAX_ANSWER_BYTES:
                raise HostError(
                    "found an answer of {} bytes; expected at most {}".format(response.length, MAX_ANSWER_BYTES)
                )
            body = response.read(MAX_ANSWER_BYTES + 1) if response.length is None else response.read()
            if len(body) > MAX_ANSWER_BYTES:
                raise HostError("found an answer of more than {} bytes".format(MAX_ANSWER_BYTES))
        finally:
            response.close()
        if response.will_close:
            self.shut()
        return Answer(response.status, response.getheader(HEADER_LENGTH) or "", body)


def _remaining(deadline_s: float) -> float:
    left = deadline_s - time.perf_counter()
    if left <= 0 or math.isnan(left):
        raise socket.timeout("timed out")
    return left


def reason_of(error: BaseException) -> str:
    """What went wrong, for a sentence."""
    if isinstance(error, http.client.HTTPException):
        return "its answer is not HTTP: {} {}".format(type(error).__name__, str(error)[:80]).strip()
    return str(error) or type(error).__name__
