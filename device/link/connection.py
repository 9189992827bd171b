"""One HTTP/1.1 connection to a host: opened when it is needed, kept open, every wait bounded by a deadline."""

import http.client
import socket
import ssl
from typing import Any, Callable, NamedTuple, Optional, Tuple

from device.errors import HostError, UsageError
from device.link.address import address_of, without_secrets
from device.link.credentials import NO_CREDENTIALS, Credentials, Tls, explained, refused
from device.link.deadline import Deadline, DeadlineReader, send_all
from device.link.look_up import open_socket
from device.protocol.messages import HEADER_LENGTH, error_message

MAX_ANSWER_BYTES = 1 << 20
MAX_ANSWER_AND_HEAD_BYTES = MAX_ANSWER_BYTES + (1 << 20)
PORTS = {"http": 80, "https": 443}
# So that an idle connection is found dead, of which the host knows nothing any more, before a frame is sent over it
KEEP_ALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3))  # tcp(7): seconds, seconds, probes


class Endpoint(NamedTuple):
    """Where a host listens, and how to get in. ``tls`` is None for plain http."""

    host: str
    port: int
    credentials: Credentials = NO_CREDENTIALS
    tls: Optional[Tls] = None

    @property
    def authority(self) -> str:
        """HOST:PORT as HTTP writes it, without the zone of an IPv6 address, which means something on this machine alone."""
        host = self.host.partition("%")[0]
        return "{}:{}".format("[" + host + "]" if ":" in host else host, self.port)

    @property
    def url(self) -> str:
        return "{}://{}".format("https" if self.tls else "http", self.authority)


class Answer(NamedTuple):
    """header_length: of Inference-Header-Content-Length, as text; empty where there is none."""

    status: int
    header_length: str
    body: bytes


def endpoint_of(url: str, credentials: Credentials = NO_CREDENTIALS) -> Endpoint:
    """Read http://HOST:PORT or https://HOST:PORT.

    Raises:
        UsageError: not such a URL, options for TLS beside http://, or a file of ``credentials`` that cannot be used.
    """
    address = address_of(url, PORTS)
    if address is None or "?" in url:
        raise UsageError("found --host {}; expected http://HOST:PORT or https://HOST:PORT, with a port above 0 and nothing behind "
                         "it; a token goes into the file of --token-file".format(without_secrets(url)))  # fmt: skip
    if address.scheme == "https":
        return Endpoint(address.host, address.port, credentials, Tls(credentials))
    if credentials.tls_options:
        raise UsageError("found {} and --host {}; expected https:// with it".format(credentials.tls_options[0], url))
    return Endpoint(address.host, address.port, credentials)


def get_request(endpoint: Endpoint, path: str) -> bytes:
    """A whole GET request, after which the host closes."""
    head = "GET {} HTTP/1.1\r\nHost: {}\r\n{}Connection: close\r\n\r\n"
    return head.format(path, endpoint.authority, endpoint.credentials.header()).encode("ascii")


def post_head(endpoint: Endpoint, path: str) -> str:
    """The head of an infer request, with places for the length of its JSON header, that of its body, and the header that
    ``Credentials`` gives."""
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
        open_, self._socket = self._socket, None
        if open_ is not None:
            open_.close()

    def shut_if_dead(self) -> None:
        """Close it where the other side has, where it was found gone, or where bytes came that nobody asked for."""
        open_ = self._socket
        if open_ is None:
            return
        try:
            open_.settimeout(0)
            # of the plain socket: SSLSocket takes no flags
            came = socket.socket.recv(open_, 1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return  # silent, as it should be
        except OSError:
            came = b""
        if not came or not isinstance(
            open_, ssl.SSLSocket
        ):  # TLS has bytes of its own, such as tickets for the next session
            self.shut()

    def exchange(self, request: bytes, deadline: Deadline, sent: Optional[Callable[[int], None]] = None) -> Answer:
        """Send a whole request in one piece and read the answer.

        Args:
            deadline: when to give up.
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
                connection = self._open(deadline)
            send_all(connection, request, deadline)
            if sent is not None:
                sent(len(request))
            answer, last = _read_answer(connection, deadline)
        except (OSError, http.client.HTTPException, ssl.CertificateError) as error:
            because = explained(error, endpoint.url, endpoint.host, endpoint.credentials) if fresh else None
            if because is None:
                raise
            raise because from error
        if answer.status in (401, 403):
            raise refused(answer.status, error_message(answer.body), endpoint.url, endpoint.credentials)
        if last:
            self.shut()
        elif fresh and endpoint.tls is not None and isinstance(connection, ssl.SSLSocket):
            endpoint.tls.remember(connection)
        return answer

    def _open(self, deadline: Deadline) -> socket.socket:
        endpoint = self._endpoint
        connection = open_socket(endpoint.host, endpoint.port, deadline)
        self._socket = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE:
            if hasattr(socket, name):  # not on every system
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if endpoint.tls is None:
            return connection
        secure = endpoint.tls.wrap(connection, endpoint.host)
        self._socket = secure
        secure.settimeout(deadline.remaining_s())
        secure.do_handshake()
        return secure


def _read_answer(connection: socket.socket, deadline: Deadline) -> Tuple[Answer, bool]:
    """The answer, and whether the host closes behind it."""
    reader: Any = DeadlineReader(connection, deadline, MAX_ANSWER_AND_HEAD_BYTES)
    response = http.client.HTTPResponse(reader)
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


def reason_of(error: BaseException) -> str:
    """What went wrong, for a sentence."""
    if isinstance(error, http.client.HTTPException):
        return "its answer is not HTTP: {} {}".format(type(error).__name__, str(error)[:80]).strip()
    return str(error) or type(error).__name__
