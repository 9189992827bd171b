"""Look-ups of names that take their time, and hosts with several addresses."""

import socket
import threading

import pytest

from device.link.deadline import Deadline
from device.link.name_resolver import NameResolver, open_socket

PATIENCE_S = 20.0
WAY = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))


class NameServer:
    """Stands in for getaddrinfo; it answers when ``go`` is set."""

    def __init__(self, answer=(WAY,), error=None):
        self.go = threading.Event()
        self.asked = []
        self.answered = threading.Semaphore(0)
        self._answer, self._error = answer, error

    def __call__(self, host, port, family=0, kind=0, protocol=0, flags=0):
        if flags == socket.AI_NUMERICHOST:
            return socket.getaddrinfo(host, port, family, kind, protocol, flags)
        self.asked.append(host)
        assert self.go.wait(PATIENCE_S)
        self.answered.release()
        if self._error is not None:
            raise self._error
        return list(self._answer)


def soon():
    return Deadline.after(0.05)


def late():
    return Deadline.after(PATIENCE_S)


@pytest.fixture
def silent():
    server = NameServer()
    yield server
    server.go.set()


def test_the_deadline_holds_for_the_look_up(silent):
    resolver = NameResolver(silent)
    with pytest.raises(socket.timeout, match="the name a.example could not be looked up in time"):
        resolver.addresses("a.example", 9, soon())
    assert silent.asked == ["a.example"]


def test_addresses_need_no_look_up(silent):
    for host in ("127.0.0.1", "::1"):
        assert NameResolver(silent).addresses(host, 9, soon())[0][4][:2] == (host, 9)
    assert silent.asked == []


def test_who_asks_for_the_same_name_shares_a_look_up_and_threads_do_not_pile_up(silent):
    resolver = NameResolver(silent, most=2)
    for _ in range(5):
        with pytest.raises(socket.timeout):
            resolver.addresses("a.example", 9, soon())
    with pytest.raises(socket.timeout):
        resolver.addresses("b.example", 9, soon())
    with pytest.raises(OSError, match="2 look-ups of names hang"):
        resolver.addresses("c.example", 9, late())
    assert silent.asked == ["a.example", "b.example"]
    silent.go.set()
    for name in ("a.example", "b.example", "c.example"):
        assert resolver.addresses(name, 9, late()) == [WAY]


def test_an_answer_that_came_too_late_serves_the_next_one(silent):
    resolver = NameResolver(silent)
    with pytest.raises(socket.timeout):
        resolver.addresses("a.example", 9, soon())
    silent.go.set()
    assert silent.answered.acquire(timeout=PATIENCE_S)
    assert resolver.addresses("a.example", 9, late()) == [WAY]
    assert silent.asked == ["a.example"]
    assert resolver.addresses("a.example", 9, late()) == [WAY]
    assert silent.asked == ["a.example"] * 2  # and only the next one: addresses change


@pytest.mark.parametrize(
    ("answer", "error"),
    [((), None), ((), socket.gaierror(-2, "Name or service not known")), ((), UnicodeError("label too long"))],
)
def test_a_name_without_an_address_is_an_error_of_the_connection(answer, error):
    server = NameServer(answer, error)
    server.go.set()
    with pytest.raises(OSError, match="no address|not known|could not be looked up"):
        NameResolver(server).addresses("a.example", 9, late())


def test_the_next_address_is_tried(monkeypatch):
    """A host whose IPv6 address leads nowhere, as in many networks, and one that refuses."""
    with socket.socket() as listener, socket.socket() as nobody:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        nobody.bind(("127.0.0.1", 0))  # without listen it refuses
        ways = [WAY[:4] + (each.getsockname(),) for each in (nobody, listener)]
        server = NameServer([(9999, *WAY[1:]), *ways])
        server.go.set()
        connection = open_socket("a.example", 9, late(), NameResolver(server))
        assert connection.getpeername() == listener.getsockname()
        connection.close()
        server = NameServer(ways[:1])
        server.go.set()
        with pytest.raises(ConnectionRefusedError):
            open_socket("a.example", 9, late(), NameResolver(server))


def test_no_address_takes_all_of_the_time():
    given = []

    class Way(socket.socket):
        def connect(self, address):
            given.append(self.gettimeout())
            raise socket.timeout("timed out")

    ways = [WAY] * 4
    server = NameServer(ways)
    server.go.set()
    original, socket.socket = socket.socket, Way
    try:
        with pytest.raises(socket.timeout):
            open_socket("a.example", 9, Deadline.after(8), NameResolver(server))
    finally:
        socket.socket = original
    assert given == [pytest.approx(8 / left, rel=0.1) for left in (4, 3, 2, 1)]
