"""Reads and drops the rest of requests that were answered before their bodies had arrived.

To close a connection while its client still sends would reset it, and many clients would then report the reset instead of the
answer. So the host reads on for a while. What all connections send in this way is bounded together: without that, clients
whose large bodies are refused, and who connect again at once, keep the event loop busy with bytes that nobody wants.
"""

import asyncio
import time

DISCARD_S = 1.0  # seconds for which the rest of one request is read
DISCARD_BYTES = 8 << 20  # bytes of it that are read
BYTES_A_SECOND = 128 << 20  # bytes that all connections together may send in this way
BURST_BYTES = 8 << 20  # bytes that may come at once after a pause


class DiscardRate:
    """Tells connections how long to pause after each part that they dropped, so that all of them together stay within
    BYTES_A_SECOND. Each gets a time of its own, so they go on one after the other and not all at once."""

    def __init__(self) -> None:
        self._paid_until = 0.0

    def pause_s(self, size: int) -> float:
        """Seconds for which a connection that has just dropped ``size`` bytes should read nothing."""
        now = time.monotonic()
        self._paid_until = max(self._paid_until, now - BURST_BYTES / BYTES_A_SECOND) + size / BYTES_A_SECOND
        return max(0.0, self._paid_until - now)


class Discard:
    """The rest of one request. ``finished`` is done when the rest has arrived, or when nothing more of it is to be read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.finished: asyncio.Future[None] = loop.create_future()
        self._size = 0
        self._timer = loop.call_later(DISCARD_S, self.end)

    def count(self, size: int) -> None:
        """Count bytes that were dropped."""
        self._size += size
        if self._size >= DISCARD_BYTES:
            self.end()

    def end(self) -> None:
        self._timer.cancel()
        if not self.finished.done():
            self.finished.set_result(None)
