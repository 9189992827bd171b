"""Deadlines: the time that is left, and the socket that obeys it."""

import math
import socket

import pytest

from device.link import deadline as module
from device.link.deadline import Deadline, DeadlineReader, send_all


@pytest.fixture
def now(monkeypatch):
    """The time in seconds, which a test sets as now[0]."""
    now = [100.0]
    monkeypatch.setattr(module, "clock", lambda: now[0])
    return now


def test_what_is_left_ends_at_zero(now):
    deadline = Deadline.after(2.0)
    assert (deadline.left_s(), deadline.remaining_s(), deadline.is_over()) == (2.0, 2.0, False)
    now[0] += 3
    assert (deadline.left_s(), deadline.is_over()) == (0.0, True)
    with pytest.raises(socket.timeout):
        deadline.remaining_s()


def test_no_number_is_no_time(now):
    assert Deadline(math.nan).is_over()
    assert Deadline.after(math.inf).left_s() == math.inf


def test_nothing_is_sent_or_read_after_the_deadline_or_beyond_the_limit(now):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        deadline = Deadline.after(2.0)
        send_all(ours, b"abcdef", deadline)
        reader = DeadlineReader(theirs, deadline, 4)
        assert reader.read(2) == b"ab"
        assert reader.read(100) == b"cd"
        with pytest.raises(socket.timeout):
            reader.read(1)
        reader.limit = 4
        now[0] += 3
        with pytest.raises(socket.timeout):
            reader.read(1)
        with pytest.raises(socket.timeout):
            send_all(ours, b"a", deadline)
        reader.deadline = Deadline.after(2.0)
        assert reader.read(100) == b"ef"
