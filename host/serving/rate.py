"""Limit of the frames a second that one client may send."""

import time
from collections import OrderedDict

MAX_CLIENTS = 8192  # number of clients whose rate is remembered; beyond it the one that was idle longest is forgotten


class RateLimiter:
    """One token bucket for each client, in the form of the generic cell rate algorithm (ITU-T I.371): of each client only
    the time is kept at which its bucket will be full again.

    Args:
        rate_hz: frames a second in the long run, above 0.
        burst: frames that may come at once after a pause, at least 1.
    """

    def __init__(self, rate_hz: float, burst: int) -> None:
        self._interval_s = 1 / rate_hz
        self._bucket_s = (burst - 1) * self._interval_s
        self._text = f"{rate_hz:g} a second and {burst} at once"
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __str__(self) -> str:
        return self._text

    @property
    def known_clients(self) -> int:
        """Number of clients that are remembered."""
        return len(self._full_at)

    def wait_s(self, client: str, more: int = 0) -> float:
        """Count frames of a client.

        The first frame of a request is counted when its head arrives, the others when the request has been read. A request
        that may begin is accepted with all its frames, so that it may hold more frames than fit into a bucket; the next
        request of its client then waits longer.

        Args:
            more: number of frames to count in addition to the first frame of the same request; 0 counts that first frame.

        Returns:
            0 if the frames were counted; otherwise nothing was counted, and the client may ask again after so many seconds.
        """
        now = time.monotonic()
        full_at = self._full_at.get(client, now)
        counted_s = self._interval_s if more else 0.0
        if full_at < now:
            full_at = now
        elif full_at - counted_s - now > self._bucket_s + 1e-9:
            return full_at - counted_s - now - self._bucket_s
        self._full_at[client] = full_at + (more or 1) * self._interval_s
        self._full_at.move_to_end(client)
        if len(self._full_at) > MAX_CLIENTS:
            self._full_at.popitem(last=False)
        return 0.0
