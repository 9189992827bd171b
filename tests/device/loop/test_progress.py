"""The line a second of ``run``."""

import pytest

from device.errors import OutputError
from device.loop.progress import ProgressSink
from device.loop.sinks import Decision, Sink


class Kept(Sink):
    def __init__(self):
        self.indices = []

    def write(self, decision, frame, pixels):
        self.indices.append(decision.index)

    def close(self):
        raise OutputError("the disk is full")


def decision(index, source="edge", label="cat", exit_=2):
    return Decision(index, 0, label, 0.914, exit_, source, {"total": 1.0}, 0)


@pytest.fixture
def now():
    return [100.0]


def progress(now, inner=None):
    lines = []
    return ProgressSink(inner or Sink(), lines.append, lambda: now[0]), lines


def test_a_line_a_second_of_the_frames_since_the_last(now):
    sink, lines = progress(now)
    for index in range(10):
        now[0] += 0.25
        sink.write(decision(index, "host" if index in (1, 4, 5) else "edge"), None, None)
    assert lines == [
        "4.0 frames/s, 75 % left on the device, last label: cat (91 % confident, exit 2)",
        "4.0 frames/s, 50 % left on the device, last label: cat (91 % confident, exit 2)",
    ]


def test_the_rate_is_that_of_the_time_that_passed(now):
    sink, lines = progress(now)
    now[0] += 4.0
    sink.write(decision(0), None, None)
    assert lines[0].startswith("0.2 frames/s")


def test_a_frame_that_no_host_answered_is_marked(now):
    sink, lines = progress(now)
    now[0] += 1.0
    sink.write(decision(0, "fallback", "dog"), None, None)
    assert lines == ["1.0 frames/s, 0 % left on the device, last label: dog (91 % confident, exit 2, no host answered)"]


def test_every_decision_goes_on_and_closing_too(now):
    inner = Kept()
    sink, _ = progress(now, inner)
    for index in range(3):
        sink.write(decision(index), None, None)
    assert inner.indices == [0, 1, 2]
    with pytest.raises(OutputError, match="the disk is full"):
        sink.close()


def test_the_line_goes_to_stderr(capsys, now):
    sink = ProgressSink(Sink(), clock=lambda: now[0])
    now[0] += 1.0
    sink.write(decision(0), None, None)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
