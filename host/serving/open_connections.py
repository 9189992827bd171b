"""Counts the open connections of all clients, and says which of them give up their place for a new one."""

from typing import Protocol

from host.serving.limits import ConnectionLimits


class Connection(Protocol):
    """What this module needs of a connection."""

    def make_room(self) -> None:
        """End now, and call ``OpenConnections.leave``."""


class OpenConnections:
    """How many connections there are, and which of them are of little use.

    Two kinds of connections make room for new ones, the oldest first. A client that has its answer and still sends the
    request for it needs no place; so whoever is refused and connects again at once does not use up the places of its
    address. A client that has not sent any request makes room if there are too many connections in all; so whoever holds
    connections open without asking keeps nobody out.

    Attributes:
        limits: the limits of all connections.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._count = 0
        self._count_of: dict[str, int] = {}
        self._silent: dict[Connection, None] = {}  # no request yet
        self._answered: dict[str, dict[Connection, None]] = {}  # of each client: answered, but still sending

    def enter(self, connection: Connection, client: str) -> str:
        """Count a connection. Returns the name of the limit that it would exceed, or nothing."""
        if client and self._count_of.get(client, 0) >= self.limits.of_one_address and not self._end_answered(client):
            return "address_connections"
        if self._count >= self.limits.most and not self._end_answered() and not self._end_silent():
            return "connections"
        self._count += 1
        self._count_of[client] = self._count_of.get(client, 0) + 1
        self._silent[connection] = None
        return ""

    def has_asked(self, connection: Connection) -> None:
        """The connection has sent a request."""
        self._silent.pop(connection, None)

    def has_answer(self, connection: Connection, client: str) -> None:
        """The client has the answer to a request that it still sends."""
        self._answered.setdefault(client, {})[connection] = None

    def leave(self, connection: Connection, client: str) -> None:
        """The connection has ended."""
        self._silent.pop(connection, None)
        answered = self._answered.get(client)
        if answered is not None:
            answered.pop(connection, None)
            if not answered:
                del self._answered[client]
        self._count -= 1
        self._count_of[client] -= 1
        if not self._count_of[client]:
            del self._count_of[client]

    def _end_answered(self, client: str | None = None) -> bool:
        """End one connection, of this client or of any, that has its answer. False if there is none."""
        answered = next(iter(self._answered.values()), {}) if client is None else self._answered.get(client, {})
        return _end_first(answered)

    def _end_silent(self) -> bool:
        return _end_first(self._silent)


def _end_first(connections: dict[Connection, None]) -> bool:
    for connection in connections:
        connection.make_room()
        return True
    return False
