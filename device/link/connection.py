"""One HTTP/1.1 connection: opened when it is needed, kept open, and every wait bounded by a deadline."""

import http.client
import socket
import ssl
from typing import Any, NamedTuple, Optional, Tuple

from device.errors import HostError
from device.link.deadline import Deadline, DeadlineReader, send_all
from device.link.endpoint import Endpoint
from device.link.name_resolver import open_socket
from device.protocol.messages import HEADER_LENGTH, error_message

MAX_ANSWER_BYTES = 1 << 20
MAX_HEAD_BYTES = 1 << 20
# So that an idle connection which the host no longer knows is found dead before a frame is sent over it
KEEP_ALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3))  # tcp(7): seconds, seconds, probes


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    header_length: str
    """The value of Inference-Header-Content-Length; empty where there is none."""
    body: bytes


class Payer:
    """Stands behind the requests of one frame. This one pays for everything."""

    def pay(self, count: int) -> None:
        """Pay for so many bytes, which are about to be sent.

        Raises:
            CappedError: they must not be sent.
        """

    def sent(self, count: int) -> None:
        """Note that so many bytes were handed to the system."""


class Connection:
    """A socket, and one exchange at a time over it.

    Args:
        max_answer_bytes: of the body of an answer.
    """

    def __init__(self, endpoint: Endpoint, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._endpoint = endpoint
        self._max_answer_bytes = max_answer_bytes
        self._socket: Optional[socket.socket] = None

    def is_open(self) -> bool:
        return self._socket is not None

    def close(self) -> None:
        """Close the socket without waiting for the other side. The next exchange opens a new one."""
        open_, self._socket = self._socket, None
        if open_ is not None:
            open_.close()

    def close_if_dead(self) -> None:
        """Close the socket if the other side has closed it, if it was reset, or if bytes came that nobody asked for."""
        open_ = self._socket
        if open_ is None:
            return
        try:
            open_.settimeout(0)
            # the plain socket's method: SSLSocket.recv takes no flags
            came = socket.socket.recv(open_, 1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return  # silent, as it should be
        except OSError:
            came = b""
        # bytes on a TLS connection may be TLS's own, such as tickets for the next session
        if not came or not isinstance(open_, ssl.SSLSocket):
            self.close()

    def exchange(self, request: bytes, deadline: Deadline, payer: Optional[Payer] = None) -> Answer:
        """Send a whole request in one piece and read the answer.

        Args:
            deadline: when to give up.
            payer: pays for the request, and is told what was sent of it.

        Raises:
            CappedError: the payer does not pay. Nothing was sent then.
            OSError, http.client.HTTPException: the connection failed, timed out or did not speak HTTP.
            AccessError: the two sides do not trust each other: certificates, status 401 or 403.
            HostError: the answer is larger than ``max_answer_bytes``.
        """
        endpoint, connection = self._endpoint, self._socket
        is_new = connection is None
        try:
            if connection is None:
                connection = self._open(deadline)
            if payer is not None:
                payer.pay(len(request))
            send_all(connection, request, deadline, None if payer is None else payer.sent)
            answer, is_last = self._read_answer(connection, deadline)
        except (OSError, http.client.HTTPException, ssl.CertificateError) as error:
            because = endpoint.credentials.explained(error, endpoint.url, endpoint.host) if is_new else None
            if because is None:
                raise
            raise because from error
        if answer.status in (401, 403):
            raise endpoint.credentials.refused(answer.status, error_message(answer.body), endpoint.url)
        if is_last:
            self.close()
        elif is_new and endpoint.tls is not None and isinstance(connection, ssl.SSLSocket):
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

    def _read_answer(self, connection: socket.socket, deadline: Deadline) -> Tuple[Answer, bool]:
        """The answer, and whether the host closes the connection after it."""
        most = self._max_answer_bytes
        reader: Any = DeadlineReader(connection, deadline, most + MAX_HEAD_BYTES)
        response = http.client.HTTPResponse(reader)
        try:
            response.begin()
            if response.length is not None and response.length > most:
                raise HostError("found an answer of {} bytes; expected at most {}".format(response.length, most))
            body = response.read(most + 1) if response.length is None else response.read()
            if len(body) > most:
                raise HostError("found an answer of more than {} bytes; expected at most that".format(most))
        finally:
            response.close()
        return Answer(response.status, response.getheader(HEADER_LENGTH) or "", body), response.will_close


def reason_of(error: BaseException) -> str:
    """Why an exchange failed, for use within a sentence."""
    if isinstance(error, http.client.HTTPException):
        return "its answer is not HTTP: {} {}".format(type(error).__name__, str(error)[:80]).strip()
    return str(error) or type(error).__name__
