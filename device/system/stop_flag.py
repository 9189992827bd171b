"""A flag that asks a program to stop, which a signal handler may set."""

import select
import socket


class StopFlag:
    """Does what threading.Event does, and may be set in a signal handler.

    A signal handler runs in the main thread between two instructions of whatever that thread is doing. threading.Event is no flag
    for it: where the signal comes while the main thread is inside ``wait`` and holds the event's lock, the handler waits for that
    lock for ever. This flag has no lock. ``set`` writes a byte to a socket, and ``wait`` watches the other end of it.
    """

    def __init__(self) -> None:
        self._set = False
        self._watched, self._written = socket.socketpair()
        self._written.setblocking(False)

    def set(self) -> None:
        """Set the flag, for good. Any thread and any signal handler may call this, any number of times."""
        if not self._set:
            self._set = True
            self._written.send(b"\0")

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout_s: float) -> bool:
        """Wait until the flag is set, for at most ``timeout_s``; whether it is set."""
        if not self._set:
            select.select([self._watched], [], [], timeout_s)
        return self._set

    def __del__(self) -> None:
        self._watched.close()
        self._written.close()
