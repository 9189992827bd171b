"""One deadline for everything that one exchange waits for: the look-up of a name, connecting, sending and reading."""

import io
import socket
import time
from typing import Any, Callable, NamedTuple, Optional

clock = time.perf_counter
"""The clock of this folder, in seconds. Times of a frame (device/loop) are on the same clock."""
DEFAULT_TIMEOUT_S = 2.0
"""The longest wait for the answer of a host or an attacker, from handing a frame over to giving it up."""


class Deadline(NamedTuple):
    """A point in time by which something must be done.

    Example:
        >>> deadline = Deadline.after(2.0)
        >>> deadline.is_over()
        False
    """

    at_s: float
    """On ``clock``."""

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The deadline so many seconds from now."""
        return cls(clock() + seconds)

    def is_over(self) -> bool:
        return self.left_s() == 0

    def left_s(self) -> float:
        """The seconds that are left; 0 after the deadline."""
        left_s = self.at_s - clock()
        return left_s if left_s > 0 else 0.0  # also where ``at_s`` is not a number

    def remaining_s(self) -> float:
        """The seconds that are left, more than 0: fit for socket.settimeout, which takes 0 for "do not block".

        Raises:
            socket.timeout: the deadline has passed.
        """
        left_s = self.left_s()
        if not left_s:
            raise socket.timeout("timed out")
        return left_s


def send_all(
    connection: socket.socket, content: bytes, deadline: Deadline, sent: Optional[Callable[[int], None]] = None
) -> None:
    """Send all of ``content``, in one piece where the socket takes it in one.

    SSLSocket.sendall restarts its time-out with every piece, so a peer that reads slowly could hold the caller.

    Args:
        sent: called with the number of bytes of each piece once it is handed to the system.

    Raises:
        OSError: the connection failed, or the deadline came first.
    """
    view = memoryview(content)
    while view:
        connection.settimeout(deadline.remaining_s())
        count = connection.send(view)
        if sent is not None:
            sent(count)
        view = view[count:]


class DeadlineReader(io.RawIOBase):
    """Reads a socket until a deadline, however few bytes come at once.

    ``socket.settimeout`` alone starts anew with every byte, so a peer that sends one byte at a time could hold the caller.
    A reader can stand in for the socket that ``http.client.HTTPResponse`` wants.

    Args:
        connection: the socket to read; its time-out is changed.
        deadline: reading fails after it. The attribute may be replaced by a later one.
        limit: the number of bytes that may still be read. The attribute may be raised.

    Raises:
        socket.timeout: by reading after the deadline or beyond the limit.
    """

    def __init__(self, connection: socket.socket, deadline: Deadline, limit: int) -> None:
        super().__init__()
        self.deadline = deadline
        self.limit = limit
        self._connection = connection

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.limit <= 0:
            raise socket.timeout("timed out")
        self._connection.settimeout(self.deadline.remaining_s())
        count = self._connection.recv_into(buffer, min(len(buffer), self.limit))
        self.limit -= count
        return count
