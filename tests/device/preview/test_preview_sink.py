"""What the loop tells the page."""

import numpy as np

from device.cameras.base import Frame
from device.preview.comparison import Condition
from device.preview.preview_sink import PreviewSink
from tests.device.preview.fakes import Clock, Inverted, decision, write

COSTS = [0.1, 0.2, 0.4, 0.7, 1.0]
PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(index):
    return Frame(index, PIXELS, None, 0.0)


def test_a_frame_counts_as_attacked_when_it_was_changed_however_late_it_is_decided():
    sink = PreviewSink(COSTS, 2)
    attack = sink.watched(Inverted())
    seen = attack(frame(7), PIXELS)
    np.testing.assert_array_equal(seen, 255 - PIXELS)
    sink.write(decision(), frame(6), PIXELS)
    assert not sink.newest.attacked
    sink.write(decision(), frame(7), seen)
    assert sink.newest.attacked
    assert [row.condition for row in sink.now().rows] == [Condition(False, "none"), Condition(True, "none")]


def test_a_frame_that_the_attacker_leaves_as_it_is_counts_as_clean():
    """A live attacker that does not answer lets clean frames go on."""
    sink = PreviewSink(COSTS, 2)
    attack = sink.watched(lambda frame, pixels: pixels)
    sink.write(decision(), frame(1), attack(frame(1), PIXELS))
    assert not sink.newest.attacked


def test_host_down_and_quiet_source_are_told_in_seconds():
    clock = Clock()
    sink = PreviewSink(COSTS, 2, True, clock)
    assert sink.now().host_down_s is None
    write(sink, 3, source="fallback", exit_=2)
    clock.now += 5
    assert (sink.now().host_down_s, sink.now().quiet_s) == (5.0, 5.0)
    write(sink, 1, source="host", exit_=4)
    assert (sink.now().host_down_s, sink.now().quiet_s) == (None, 0.0)


def test_without_a_host_none_is_down():
    sink = PreviewSink(COSTS, 2, False, Clock())
    write(sink, 5, source="fallback", exit_=2)
    assert sink.now().host_down_s is None
    assert sink.now().rows[0].frames == 5


def test_a_capped_frame_says_nothing_of_the_host_and_is_in_the_means():
    clock = Clock()
    sink = PreviewSink(COSTS, 2, True, clock)
    write(sink, 6, source="fallback", exit_=2, capped=True, truth=0, total=4.0)
    write(sink, 2, source="host", exit_=4, sent=800, truth=1, total=8.0)
    clock.now += 3
    now = sink.now()
    assert now.host_down_s is None
    point, row = now.points[-1], now.rows[0]
    assert (point.frames, point.unanswered, point.capped, point.histogram[-1]) == (8, 0, 6, 6)
    assert (point.accuracy, row.accuracy) == (0.75, 0.75)
    assert (row.bytes_a_frame, row.left_share, row.latency_ms) == (200.0, 0.0, 4.0)
