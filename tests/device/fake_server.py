"""A server on a free port of this machine, for fakes of hosts, attackers and cameras."""

import socket
import threading

from device.protocol.messages import HEADER_LENGTH


class FakeServer:
    """Accepts connections and answers each in a thread of its own. A subclass says how in ``answer`` or ``serve``.

    Args:
        context: for TLS.

    Attributes:
        port: on 127.0.0.1.
        connections: all that were accepted, and with TLS each once more behind its handshake.
        stopped: an event that is set by ``stop``; a subclass waits for it where it does not answer.
    """

    def __init__(self, port=0, context=None):
        self.context = context
        self.connections = []
        self.stopped = threading.Event()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(16)
        self.port = self._listener.getsockname()[1]
        self.url = "http://127.0.0.1:{}".format(self.port)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.stopped.set()
        for each in [self._listener, *self.connections]:
            try:
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # below TLS, which would wait for the other side
            except OSError:
                pass
            each.close()

    def answer(self, connection, stream):
        """Read one request from the stream and answer it. True to go on with the next one."""
        raise NotImplementedError

    def serve(self, connection):
        """Answer the requests of one connection."""
        stream = connection.makefile("rb")
        try:
            while self.answer(connection, stream):
                pass
        finally:
            stream.close()

    def _accept(self):
        while not self.stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(20)
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
                self.connections.append(connection)
            self.serve(connection)
        except (OSError, ValueError):  # the other side went, or this server stops
            pass
        finally:
            connection.close()


def read_head(stream):
    """The first line of a request or an answer, and its headers by their names in small letters; "" at the end."""
    first = stream.readline().decode()
    headers = {}
    if first:
        for line in iter(stream.readline, b"\r\n"):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
    return first, headers


def send_answer(connection, status, body, header_length=None):
    """Send an HTTP answer, and where ``header_length`` is given the header of that name of the protocol."""
    head = "HTTP/1.1 {}\r\nContent-Length: {}\r\n".format(status, len(body))
    if header_length is not None:
        head += "{}: {}\r\n".format(HEADER_LENGTH, header_length)
    connection.sendall(head.encode("latin-1") + b"\r\n" + body)
