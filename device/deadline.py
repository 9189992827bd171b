"""Reading from a socket with one deadline for all of it."""

import io
import socket
import time
from typing import Any


class DeadlineReader(io.RawIOBase):
    """Reads a socket until a point in time, however little comes at once: a peer that drips bytes holds nobody.

    ``socket.settimeout`` alone starts anew with every byte. It can stand in for a socket where
    ``http.client.HTTPResponse`` wants one.

    Args:
        connection: read from here; its time-out is changed.
        deadline_s: time.monotonic() from which reading fails; may be moved.
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
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0 or self.limit <= 0:
            raise socket.timeout("timed out")
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(buffer, min(len(buffer), self.limit))
        self.limit -= count
        return count
