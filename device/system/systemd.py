"""Tells systemd that the service is up and alive; does nothing where no systemd listens.

systemd puts the address of a datagram socket into NOTIFY_SOCKET and, where the unit has WatchdogSec, its length into
WATCHDOG_USEC; a service that is silent for that long is ended and started again. The messages are lines NAME=VALUE:
READY=1, WATCHDOG=1, STOPPING=1, STATUS=text. Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import math
import os
import re
import socket
import time
from typing import Callable, Dict, Mapping, Optional

LONGEST_WAIT_S = 3600.0  # systems have different ideas of the longest time-out
WATCHDOG_USEC = re.compile("[0-9]{1,18}")


class Notifier:
    """Sends states to systemd, each at most once in a quarter of the watchdog's time (1 s where there is none).

    A loop may therefore call ``notify("WATCHDOG=1")`` on every turn.
    """

    def __init__(self, environment: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # a name without a file starts with a zero byte, which an environment variable cannot hold
        self._address = "\0" + address[1:] if address.startswith("@") else address
        length_us = environment.get("WATCHDOG_USEC", "")
        self._pause_s = int(length_us) / 4e6 if WATCHDOG_USEC.fullmatch(length_us) else 1.0
        self._clock = clock
        self._sent_s: Dict[str, float] = {}
        self._socket: Optional[socket.socket] = None

    def notify(self, state: str) -> bool:
        """Send ``state``, as in "READY=1". Never blocks and never raises: a lost message costs a restart at worst.

        Returns:
            whether it was sent; False too where nobody listens, or where it was sent a moment ago.
        """
        if not self._address:
            return False
        now_s = self._clock()
        if now_s - self._sent_s.get(state, -self._pause_s) < self._pause_s:
            return False
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(state.encode(), self._address)
        except OSError:
            return False
        self._sent_s[state] = now_s
        return True

    def wait_alive(self, wait: Callable[[float], bool], seconds: float = math.inf) -> bool:
        """Wait as ``wait`` does, for at most ``seconds``, and tell systemd all the while that the service is alive.

        For the thread that the watchdog watches, where it waits on purpose: a frame that is not due yet, an answer that is
        not there yet. The message comes from that thread alone, so that it stops when the thread hangs elsewhere.

        Args:
            wait: waits for at most so many seconds; True when there is nothing left to wait for.

        Returns:
            what the last ``wait`` gave.
        """
        end_s = self._clock() + seconds
        longest_s = self._pause_s if self._address else LONGEST_WAIT_S
        while True:
            left_s = max(0.0, end_s - self._clock())
            done = wait(min(left_s, longest_s))
            if done or left_s <= longest_s:
                return done
            self.notify("WATCHDOG=1")


NOTIFIER = Notifier(os.environ)
"""Of this process."""
notify = NOTIFIER.notify
wait_alive = NOTIFIER.wait_alive
