"""The faults of bench/hostile keep to their interface, and its honest client counts what it asked."""

import importlib
import inspect
import socket
import threading

import pytest

pytest.importorskip("resource", reason="bench/hostile needs Linux")

from bench.hostile import honest
from bench.hostile.__main__ import NAMES, report


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_has_what_is_asked_of_it(name):
    module = importlib.import_module(f"bench.hostile.faults.{name}")
    assert isinstance(module.DESCRIPTION, str)
    assert "|" not in module.DESCRIPTION  # it is a cell of a table
    assert all(isinstance(each, str) for each in module.OPTIONS)
    assert list(inspect.signature(module.attack).parameters) == ["port", "stop", "token"]


def test_requests_without_an_answer_count_with_the_deadline(monkeypatch):
    """A server that answers every other connection, and closes the others."""
    monkeypatch.setattr(honest, "DEADLINE_S", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for number in range(6):
                with listener.accept()[0] as connection:
                    connection.recv(4096)
                    if number % 2:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        server = threading.Thread(target=serve)
        server.start()
        asker = honest.Asker(listener.getsockname()[1], honest.HEALTH, 0.01, False)
        start_s = honest.time.monotonic()
        asker.run(start_s, start_s + 0.055)
        server.join(10)
    found = honest.figures([asker])
    assert (found["asked"], found["answered"], found["failures"]) == (6, 3, {"lost": 3})
    assert (found["p99_ms"], found["most_ms"]) == (1500, 1500)


def test_a_host_that_did_not_start_is_a_line_of_the_table():
    lines = report({"a": {"description": "a fault", "failed": "the host did not start:\nno"}}).splitlines()
    assert lines[-1] == "| a fault | the host did not start: no | - | - | - | - |"
