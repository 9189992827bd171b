"""One deadline for all that is read from a socket and written to it. Deadlines are points of time.perf_counter()."""

import io
import math
import socket
import time
from typing import Any


def remaining_s(deadline_s: float) -> float:
    """Seconds that are left, more than 0.

    Raises:
        socket.timeout: none are.
    """
    left_s = deadline_s - time.perf_counter()
    if left_s <= 0 or math.isnan(left_s):
        raise socket.timeout("timed out")
    return left_s


def send_all(connection: socket.socket, content: bytes, deadline_s: float) -> None:
    """Send all of ``content``, in one piece where the socket takes it so. SSLSocket.sendall alone begins its time-out anew
    with every piece, so that a peer that reads slowly holds the caller.

    Raises:
        OSError: the connection failed, or the deadline came first.
    """
    view = memoryview(content)
    while view:
        connection.settimeout(remaining_s(deadline_s))
        view = view[connection.send(view) :]


class DeadlineReader(io.RawIOBase):
    """Reads a socket until a point in time, however little comes at once: a peer that drips bytes holds nobody.

    ``socket.settimeout`` alone starts anew with every byte. It can stand in for a socket where
    ``http.client.HTTPResponse`` wants one.

    Args:
        connection: read from here; its time-out is changed.
        deadline_s: from which reading fails; may be moved.
        limit: bytes that may still be read; may be raised.

    Raises:
        socket.timeout: on reading after the deadline, or beyond the limit.
    """

    def __init__(self, connection: socket.socket, deadline_s: float, limit: int) -> None:
        super().__init__()
        self.deadline_s = deadline_s
        self.limit = limit
        self._connection = connection

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.limit <= 0:
            raise socket.timeout("timed out")
        self._connection.settimeout(remaining_s(self.deadline_s))
        count = self._connection.recv_into(buffer, min(len(buffer), self.limit))
        self.limit -= count
        return count
