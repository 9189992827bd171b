"""Numbers over time, as the page shows them."""

import pytest

from device.preview.last_minute import BIN_S, BINS, LastMinute
from tests.device.preview.fakes import Clock, decision

COSTS = [0.1, 0.2, 0.4, 0.7, 1.0]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def minute(clock):
    return LastMinute(COSTS, 2, clock)


def add(minute, count, attacked=False, host_down=False, **fields):
    for _ in range(count):
        minute.add(decision(**fields), attacked, host_down)


def test_points_look_back_over_three_seconds_or_thirty_frames(minute, clock):
    for second in range(6):
        fields = {"exit_": 1} if second < 3 else {"exit_": 5, "source": "host", "sent": 1000, "total": 8.0}
        for _ in range(2):
            add(minute, 10, truth=0, label=0 if second < 3 else 1, **fields)
            clock.now += BIN_S
    points = minute.points()
    assert len(points) == 12
    first, middle, last = points[5], points[8], points[-1]
    assert (first.seconds, first.frames, first.left_share, first.t3_er, first.bytes_per_s) == (3.0, 60, 1.0, 1.0, 0.0)
    assert (first.latency_ms, first.accuracy, first.mean_exit) == (2.0, 1.0, 1.0)
    assert first.efcy == pytest.approx(0.95)  # all leave at a tenth of the cost
    assert (middle.left_share, middle.histogram, middle.mean_exit) == (0.5, [30, 0, 0, 0, 30, 0], 3.0)
    assert (last.left_share, last.bytes_per_s, last.latency_ms, last.accuracy) == (0.0, 20000.0, 8.0, 0.0)


def test_slow_sources_are_looked_back_on_for_longer_and_gaps_stay_gaps(minute, clock):
    for _ in range(20):
        add(minute, 1)
        clock.now += 1
    assert minute.points()[-1].frames == 15
    assert minute.points()[-1].seconds == 15.0
    assert minute.points()[-1].accuracy is None
    clock.now += 16
    last = minute.points()[-1]
    assert (last.frames, last.left_share, last.t3_er, last.efcy) == (0, None, None, None)
    assert (last.latency_ms, last.mean_exit, last.histogram) == (None, None, [0] * 6)
    clock.now += 1000
    assert len(minute.points()) == BINS


def test_frames_without_an_answer_are_in_no_mean(minute, clock):
    add(minute, 3, exit_=2, source="fallback", total=2000.0, truth=0, label=1)
    clock.now += BIN_S
    dead = minute.points()[-1]
    assert (dead.frames, dead.unanswered, dead.histogram) == (3, 3, [0, 0, 0, 0, 0, 3])
    assert (dead.latency_ms, dead.accuracy, dead.mean_exit) == (None, None, None)
    assert (dead.left_share, dead.t3_er) == (0.0, 0.0)  # that they did not leave early is known
    add(minute, 3, exit_=1, total=2.0, truth=0, label=0)
    clock.now += BIN_S
    half = minute.points()[-1]
    assert (half.unanswered, half.latency_ms, half.accuracy, half.mean_exit) == (3, 2.0, 1.0, 1.0)
    assert (half.left_share, half.t3_er) == (0.5, 0.5)


def test_t3_er_counts_three_exits_whatever_the_split(minute, clock):
    add(minute, 2, exit_=2)
    add(minute, 2, exit_=3, source="host")
    clock.now += BIN_S
    assert (minute.points()[-1].left_share, minute.points()[-1].t3_er) == (0.5, 1.0)


def test_points_know_when_attack_and_defq_were_on_and_the_host_was_down(minute, clock):
    conditions = [(False, False, False), (True, False, False), (True, True, False), (False, False, True)]
    for attacked, quantised, down in conditions:
        add(minute, 4, attacked, down, quantised=quantised)
        clock.now += BIN_S
    assert [(each.attacked, each.quantised, each.host_down) for each in minute.points()] == conditions
