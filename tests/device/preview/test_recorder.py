"""Numbers over time, as the page shows them."""

from device.preview.recorder import BIN_S, BINS, Recorder
from tests.device.preview.fakes import write


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_points_look_back_over_three_seconds_or_thirty_frames():
    clock = Clock()
    recorder = Recorder(5, clock)
    for second in range(6):
        fields = {"exit_": 1} if second < 3 else {"exit_": 5, "source": "host", "sent": 1000, "total": 8.0}
        for _ in range(2):
            write(recorder, 10, truth=0, label=0 if second < 3 else 1, **fields)
            clock.now += BIN_S
    points = recorder.points()
    assert len(points) == 12
    first, middle, last = points[5], points[8], points[-1]
    assert (first.seconds, first.frames, first.left_share, first.bytes_per_s, first.latency_ms) == (
        3.0,
        60,
        1.0,
        0.0,
        2.0,
    )
    assert (middle.left_share, middle.histogram) == (0.5, [30, 0, 0, 0, 30, 0])
    assert (last.left_share, last.bytes_per_s, last.latency_ms, last.accuracy) == (0.0, 20000.0, 8.0, 0.0)
    assert first.accuracy == 1.0


def test_slow_sources_are_looked_back_on_for_longer_and_gaps_stay_gaps():
    clock = Clock()
    recorder = Recorder(5, clock)
    for _ in range(20):
        write(recorder, 1)
        clock.now += 1
    assert recorder.points()[-1].frames == 15
    assert recorder.points()[-1].seconds == 15.0
    assert recorder.points()[-1].accuracy is None
    clock.now += 16
    last = recorder.points()[-1]
    assert (last.frames, last.left_share, last.latency_ms, last.histogram) == (0, None, None, [0] * 6)
    clock.now += 1000
    assert len(recorder.points()) == BINS
    write(recorder, 1)
    assert len(recorder._bins) == 1  # what is older than a minute is gone


def test_fallback_counts_behind_the_last_exit():
    clock = Clock()
    recorder = Recorder(5, clock)
    write(recorder, 3, exit_=2, source="fallback")
    clock.now += BIN_S
    assert recorder.points()[-1].histogram == [0, 0, 0, 0, 0, 3]
    assert recorder.points()[-1].left_share == 0.0


def test_points_know_when_the_attack_and_defq_were_on():
    clock = Clock()
    recorder = Recorder(5, clock)
    for attack, quantised in ((False, False), (True, False), (True, True)):
        recorder.attack = attack
        write(recorder, 4, quantised=quantised)
        clock.now += BIN_S
    assert [(each.attack, each.quantised) for each in recorder.points()] == [
        (False, False), (True, False), (True, True)
    ]  # fmt: skip
