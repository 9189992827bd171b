"""An allowance that is refilled at a fixed rate up to a capacity, and that everything sent is paid from (a token bucket).

All amounts are whole numbers of millionths, so that no rounding adds up, however long a device runs. Prior art: token-bucket
offloading (arXiv 2010.13737).
"""

import threading
import time
from typing import Callable

MILLION = 1000000


class FrameBudget:
    """Pays one for each frame sent, and is refilled by a share of a frame after every frame. For the thread of the loop alone.

    It starts at the lowest value that it can ever have. So a new start never raises it, and frames sent before and after a
    restart obey the same bound together.

    Args:
        capacity: frames that may be sent at once after a long rest, 0 or more.
    """

    def __init__(self, capacity: float) -> None:
        self.capacity = max(1, int(capacity * MILLION))
        self.left = -MILLION

    @property
    def fraction(self) -> float:
        """How much of the capacity is left, from 0 to 1."""
        return max(0, self.left) / self.capacity

    def count(self, sent: bool, share: float) -> None:
        """Take the next frame.

        Args:
            share: of a frame, by which the budget is refilled, 0 to 1.
        """
        self.left = min(self.capacity, self.left + round(share * MILLION) - (MILLION if sent else 0))


class ByteBudget:
    """Pays for bytes, and is refilled as time passes. Several threads may use it.

    Args:
        per_s: bytes a second in the long run.
        burst: bytes that may be sent at once after a long rest.
        largest: bytes of the largest request. The budget starts that far below 0, the lowest value that it can ever have.
        clock: seconds. Only readings above all earlier ones refill the budget, so that a clock that is set back and forth
            gives nothing twice.
    """

    def __init__(self, per_s: int, burst: int, largest: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s = per_s
        self.burst = burst
        self.largest = largest
        self._clock = clock
        self._lock = threading.Lock()
        self._left = -largest * MILLION
        self._read_us = self._now_us()

    @property
    def fraction(self) -> float:
        """How much of the burst is left, from 0 to 1."""
        with self._lock:
            self._refill()
            return max(0, self._left) / (self.burst * MILLION)

    def pay(self, count: int) -> bool:
        """Pay for bytes that are about to be sent. False where nothing is left; they must not be sent then."""
        with self._lock:
            self._refill()
            if self._left <= 0:
                return False
            self._left -= count * MILLION
            return True

    def _refill(self) -> None:
        now_us = self._now_us()
        if now_us > self._read_us:
            self._left = min(self.burst * MILLION, self._left + (now_us - self._read_us) * self.per_s)
            self._read_us = now_us

    def _now_us(self) -> int:
        return int(self._clock() * MILLION)
