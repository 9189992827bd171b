"""One HTTP/1.1 connection to a host: opened when it is needed, kept open, every wait bounded by a deadline."""

import http.client
import io
import math
import socket
import ssl
import time
from typing import Any, Callable, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from device.access import NO_ACCESS, Access, Tls, explained, refused
from device.errors import HostError, UsageError
from device.wire import HEADER_LENGTH, error_message

MAX_ANSWER_BYTES = 1 << 20
PORTS = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """Where a host listens, and how to get in. ``tls`` is None for plain http."""

    host: str
    port: int
    access: Access = NO_ACCESS
    tls: Optional[Tls] = None

    @property
    def authority(self) -> str:
        """HOST:PORT as HTTP writes it."""
        return "{}:{}".format("[" + self.host + "]" if ":" in self.host else self.host, self.port)

    @property
    def url(self) -> str:
        return "{}://{}".format("https" if self.tls else "http", self.authority)


class Answer(NamedTuple):
    """header_length: of Inference-Header-Content-Length, as text; empty where there is none."""

    status: int
    header_length: str
    body: bytes


def endpoint_of(url: str, access: Access = NO_ACCESS) -> Endpoint:
    """Read http://HOST:PORT or https://HOST:PORT.

    Raises:
        UsageError: not such a URL, options for TLS beside http://, or a file of ``access`` that cannot be used.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
        (parts.hostname or "").encode("idna")  # as sockets do with a name, and TLS
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in PORTS or not parts.hostname or parts.path not in ("", "/"):
        raise UsageError("found --host {}; expected http://HOST:PORT or https://HOST:PORT".format(url))
    if parts.scheme == "https":
        return Endpoint(parts.hostname, port, access, Tls(access))
    if access.tls_options:
        raise UsageError("found {} and --host {}; expected https:// with it".format(access.tls_options[0], url))
    return Endpoint(parts.hostname, port, access)


def get_request(endpoint: Endpoint, path: str) -> bytes:
    """A whole GET request, after which the host closes."""
    head = "GET {} HTTP/1.1\r\nHost: {}\r\n{}Connection: close\r\n\r\n"
    return head.format(path, endpoint.authority, endpoint.access.header()).encode("ascii")


def post_head(endpoint: Endpoint, path: str) -> str:
    """The head of an infer request, with places for the length of its JSON header, that of its body, and the header that
    ``Access`` gives."""
    return (
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/octet-stream\r\n".format(path, endpoint.authority)
        + HEADER_LENGTH
        + ": {}\r\nContent-Length: {}\r\n{}\r\n"
    )


class Connection:
    """A socket, and one exchange at a time over it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._socket: Optional[socket.socket] = None

    def is_open(self) -> bool:
        return self._socket is not None

    def shut(self) -> None:
        """Close."""
        self.cut()
        open_, self._socket = self._socket, None
        if open_ is not None:
            open_.close()

    def cut(self) -> None:
        """End an exchange that is under way in another thread: it gets an error, and closes."""
        open_ = self._socket
        if open_ is not None:
            try:
                # of the plain socket: SSLSocket.shutdown would first make the other thread go on without encryption
                socket.socket.shutdown(open_, socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was faster

    def exchange(self, request: bytes, deadline_s: float, sent: Optional[Callable[[int], None]] = None) -> Answer:
        """Send a whole request in one piece and read the answer.

        Args:
            deadline_s: time.perf_counter() at which to give up.
            sent: called with the number of bytes once they are on their way.

        Raises:
            OSError, http.client.HTTPException: the connection failed, timed out or did not speak HTTP.
            AccessError: one of the two sides does not trust the other: certificates, 401 or 403.
            HostError: an answer beyond MAX_ANSWER_BYTES.
        """
        endpoint, connection = self._endpoint, self._socket
        fresh = connection is None
        try:
            if connection is None:
                connection = self._open(deadline_s)
            connection.settimeout(_remaining(deadline_s))
            connection.sendall(request)
            if sent is not None:
                sent(len(request))
            answer, last = _read_answer(connection, deadline_s)
        except (OSError, http.client.HTTPException, ssl.CertificateError) as error:
            because = explained(error, endpoint.url, endpoint.host, endpoint.access) if fresh else None
            if because is None:
                raise
            raise because from error
        if answer.status in (401, 403):
            raise refused(answer.status, error_message(answer.body), endpoint.url, endpoint.access)
        if last:
            self.shut()
        elif fresh and endpoint.tls is not None and isinstance(connection, ssl.SSLSocket):
            endpoint.tls.remember(connection)
        return answer

    def _open(self, deadline_s: float) -> socket.socket:
        endpoint = self._endpoint
        connection = socket.create_connection((endpoint.host, endpoint.port), _remaining(deadline_s))
        self._socket = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if endpoint.tls is None:
            return connection
        secure = endpoint.tls.wrap(connection, endpoint.host)
        self._socket = secure  # before the handshake, so that it can be cut
        secure.settimeout(_remaining(deadline_s))
        secure.do_handshake()
        return secure


class _Bounded(io.RawIOBase):
    """What a socket receives, to be read until a deadline however slowly it drips in."""

    def __init__(self, connection: socket.socket, deadline_s: float) -> None:
        super().__init__()
        self._connection = connection
        self._deadline_s = deadline_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(_remaining(self._deadline_s))
        return self._connection.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What http.client asks of a socket."""
        return io.BufferedReader(self)


def _read_answer(connection: socket.socket, deadline_s: float) -> Tuple[Answer, bool]:
    """The answer, and whether the host closes behind it."""
    response = http.client.HTTPResponse(_Bounded(connection, deadline_s))  # type: ignore[arg-type]
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
    return Answer(response.status, response.getheader(HEADER_LENGTH) or "", body), response.will_close


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
