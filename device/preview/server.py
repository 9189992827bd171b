"""The preview's HTTP server: the standard library's, with what keeps strangers and slow clients from doing harm.

It listens on 127.0.0.1 unless told otherwise, and beyond it wants a token. A request has 5 s and 16 kB for its head and
body, a viewer 5 s to take a picture, and no more than 32 connections and 8 viewers are served at once. A connection beyond
that takes the place of one that waits for its request: of the address that has the most of them, the one that has waited
longest. So whoever holds sockets open without a word pushes out his own ones, and not a viewer.
"""

import collections
import errno
import ipaddress
import re
import secrets
import socket
import socketserver
import threading
import time
from typing import Any, Dict, Optional

from device.errors import UsageError
from device.preview.handler import Handler
from device.preview.service import LIMITS, Content, Limits, Service

TOKEN = re.compile("[A-Za-z0-9_-]{12,128}$")


class Client:
    """A connection, as the server counts it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.since_s = time.monotonic()
        self.viewer = False


class PreviewServer(socketserver.ThreadingMixIn, Service):
    """Serves the page, each connection in a thread of its own.

    Args:
        address, port: to listen on; 0 = any free port.
        token: wanted from every client; needed, or made up, beyond this machine.

    Raises:
        UsageError: an address or port that cannot be used, or a token that is too short.

    Example:
        >>> server = PreviewServer(content, "127.0.0.1", 8080).start()
        >>> server.url
        'http://127.0.0.1:8080/'
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self, content: Content, address: str, port: int, token: Optional[str] = None, limits: Limits = LIMITS
    ) -> None:
        if token is not None and not TOKEN.match(token):
            raise UsageError(
                "found a --token of {} characters; expected 12 to 128 letters, digits, - or _".format(len(token))
            )
        self.content = content
        self.limits = limits
        self.viewers = threading.BoundedSemaphore(limits.viewers)
        self.closing = False
        self._lock = threading.Lock()
        self._clients: Dict[socket.socket, Client] = {}
        try:
            found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
            self.address_family = found[0]
            super().__init__((str(found[4][0]), port), Handler)
        except (UnicodeError, OverflowError) as error:
            raise UsageError("found --address {!r} and --port {}; expected an address of this machine and a port up to "
                             "65535".format(address, port)) from error  # fmt: skip
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UsageError("found port {} of {} in use by another program; expected a free one; choose another with "
                                 "--port, or --port 0 for any".format(port, address)) from error  # fmt: skip
            raise UsageError("could not listen on {}:{} ({}); expected an address of this machine and a port that this user "
                             "may use".format(address, port, error.strerror)) from error  # fmt: skip
        own = ipaddress.ip_address(str(self.server_address[0]).split("%")[0])
        self.local = own.is_loopback
        self.token = token or ("" if self.local else secrets.token_urlsafe(16))
        host = _outward_address(self.address_family) if own.is_unspecified else str(own)
        self.own_name = "[" + host + "]" if ":" in host else host
        self.url = "http://{}:{}/".format(self.own_name, self.server_address[1])
        if self.token:
            self.url += "?token=" + self.token

    def server_bind(self) -> None:
        # HTTPServer asks the name server for this machine's name, which may take long
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "preview", self.server_address[1]

    def start(self) -> "PreviewServer":
        """Serve in a thread."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def close(self) -> None:
        """Stop; viewers are let go."""
        self.closing = True
        self.shutdown()
        self.server_close()

    def begins(self, connection: socket.socket, viewer: bool = False) -> None:
        with self._lock:
            client = self._clients.get(connection)
            if client is not None:
                client.since_s, client.viewer = time.monotonic(), viewer

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._make_room():
            self.shutdown_request(request)  # an answer would need a thread
            return
        with self._lock:
            self._clients[request] = Client(str(client_address[0]))
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._leaves(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leaves(request)

    def _make_room(self) -> bool:
        """Whether one more connection may come, if need be in the place of another."""
        with self._lock:
            if len(self._clients) < self.limits.connections:
                return True
            counts = collections.Counter(each.address for each in self._clients.values())
            waiting = [(-counts[each.address], each.since_s, number, connection)
                       for number, (connection, each) in enumerate(self._clients.items()) if not each.viewer]  # fmt: skip
            if not waiting:
                return False
            connection = min(waiting)[-1]
            del self._clients[connection]
        try:
            connection.shutdown(socket.SHUT_RDWR)  # its thread finds that out, and closes it
        except OSError:
            pass  # it has just ended
        return True

    def _leaves(self, connection: socket.socket) -> None:
        with self._lock:
            self._clients.pop(connection, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away or was too slow is not worth a word."""


def _outward_address(family: int) -> str:
    """This machine's address as its network sees it; nothing is sent to find out."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
