"""Looks up a host's name and connects to it within a deadline, however long the name server takes.

The system's look-up (getaddrinfo) has no time-out: it blocks for half a minute while a name server is silent. So it runs in a
thread of its own, which the caller leaves behind at its deadline. Callers that ask for the same name share one look-up, and
the number of look-ups at a time is bounded, so that threads that hang do not pile up.
"""

import socket
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from device.link.deadline import Deadline, clock

MOST = 4
KEPT_S = 30.0  # a result that came too late for its callers serves the next one for so long

Addresses = List[Tuple[Any, ...]]
"""The result of getaddrinfo: family, type, protocol, name and address of each way to a host."""


class _LookUp:
    """A look-up that is under way or has ended."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.ended_s = 0.0
        self.addresses: Addresses = []
        self.error: Optional[OSError] = None


class NameResolver:
    """Looks names up in threads.

    Args:
        getaddrinfo: the system's function, which may block for any time.
        most: the number of look-ups that may be under way at a time.
    """

    def __init__(self, getaddrinfo: Callable[..., Any] = socket.getaddrinfo, most: int = MOST) -> None:
        self._getaddrinfo = getaddrinfo
        self._most = most
        self._lock = threading.Lock()
        self._under_way: Dict[Tuple[str, int], _LookUp] = {}

    def addresses(self, host: str, port: int, deadline: Deadline) -> Addresses:
        """The ways to a host, at least one.

        Args:
            host: an IP address, or a name in ASCII.

        Raises:
            OSError: there is none, the deadline came first (socket.timeout), or too many look-ups hang.
        """
        try:
            return list(self._getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST))
        except socket.gaierror:
            pass  # not an address but a name
        key = (host, port)
        look_up = self._started(key)
        if not look_up.ended.wait(deadline.remaining_s()):
            raise socket.timeout("the name {} could not be looked up in time".format(host))
        with self._lock:
            if self._under_way.get(key) is look_up:
                del self._under_way[key]
        if look_up.error is not None:
            raise look_up.error
        return look_up.addresses

    def _started(self, key: Tuple[str, int]) -> _LookUp:
        """The look-up of a name that is under way or has just ended; otherwise a new one."""
        with self._lock:
            look_up = self._under_way.get(key)
            if look_up is not None and not self._is_old(look_up):
                return look_up
            self._under_way = {each: other for each, other in self._under_way.items() if not self._is_old(other)}
            if len(self._under_way) >= self._most:
                raise OSError("{} look-ups of names hang, as many as there may be".format(self._most))
            look_up = self._under_way[key] = _LookUp()
            thread = threading.Thread(target=self._run, args=(look_up, *key), daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                del self._under_way[key]
                raise OSError("no thread to look up a name") from error
            return look_up

    @staticmethod
    def _is_old(look_up: _LookUp) -> bool:
        return look_up.ended.is_set() and clock() - look_up.ended_s > KEPT_S

    def _run(self, look_up: _LookUp, host: str, port: int) -> None:
        try:
            look_up.addresses = list(self._getaddrinfo(host, port, 0, socket.SOCK_STREAM))
            if not look_up.addresses:
                look_up.error = OSError("the name {} has no address".format(host))
        except OSError as error:
            look_up.error = error
        except (UnicodeError, OverflowError, MemoryError) as error:
            look_up.error = OSError("the name {} could not be looked up ({})".format(host, error))
        look_up.ended_s = clock()
        look_up.ended.set()


RESOLVER = NameResolver()
"""The resolver of this process."""


def open_socket(host: str, port: int, deadline: Deadline, resolver: Optional[NameResolver] = None) -> socket.socket:
    """Connect to the first of a host's addresses that answers. Where there are several, none may take all of the time.

    Args:
        deadline: for looking the name up and connecting together.
        resolver: None for the resolver of this process.

    Raises:
        OSError: none could be reached in time.
    """
    addresses = (resolver or RESOLVER).addresses(host, port, deadline)
    last: OSError = socket.timeout("timed out")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        connection = None
        try:
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(deadline.remaining_s() / (len(addresses) - number))
            connection.connect(address)
            return connection
        except OSError as error:
            last = error
            if connection is not None:
                connection.close()
    raise last
