"""Frames that the ceiling keeps from being sent: they are answered on the device, and told as capped."""

import json

import pytest

from device.defence.budget import ByteBudget
from device.defence.ceiling import Ceiling, CeilingSettings
from device.defence.controller import Controller
from device.link.host_client import HostClient
from device.loop.pipeline import Pipeline
from device.loop.sinks import to_line
from device.loop.windows import Windows
from tests.device.loop.fakes import KeptSink, ListCamera, RecordingEngine


@pytest.fixture
def run(bundle):
    """Decisions and the summary of frames that all stay, with a host at a URL and a ceiling."""

    def go(frames, url, ceiling, **options):
        host, sink = HostClient(url, bundle, 0.62, **options), KeptSink()
        try:
            controller = Controller(bundle, mode="off", threshold=0.62)
            pipeline = Pipeline(bundle, RecordingEngine(bundle), controller, host, sink, ceiling)
            return sink.decisions, pipeline.run(ListCamera(frames))
        finally:
            host.close()

    return go


def ceiling_of(share=0.3, gain=0.2, budget=None):
    return Ceiling(0.62, 10, CeilingSettings({"off": share}, gain), budget)


@pytest.mark.parametrize("connections", [1, 4])
def test_no_more_frames_reach_the_host_than_the_ceiling_allows(run, fake_host, frames, connections):
    ceiling = ceiling_of()
    decisions, summary = run(frames, fake_host.url, ceiling, connections=connections)
    figures = summary.to_dict()
    assert 10 <= fake_host.requests <= ceiling.bound(60) < 60
    assert figures["sources"] == {"edge": 0, "host": fake_host.requests, "fallback": 60 - fake_host.requests}
    assert figures["ceiling"]["capped_frames"] == 60 - fake_host.requests == sum(each.capped for each in decisions)
    assert figures["most_sent"]["100"] == fake_host.requests
    assert "({} of them capped)".format(60 - fake_host.requests) in summary.text()
    assert "(bound {})".format(ceiling.bound(100)) in summary.text()


def test_a_capped_frame_is_a_fallback_with_one_member_more(run, fake_host, frames, bundle):
    decisions, _ = run(frames, fake_host.url, ceiling_of())
    capped = json.loads(to_line(next(each for each in decisions if each.capped)))
    sent = json.loads(to_line(next(each for each in decisions if each.source == "host")))
    assert (capped["source"], capped["capped"], capped["exit"], capped["bytes_sent"]) == (
        "fallback",
        True,
        bundle.split,
        0,
    )
    assert "capped" not in sent
    assert "host" not in capped["ms"]


def test_frames_that_a_lost_host_refuses_do_not_count_as_sent(run, fake_host, frames):
    fake_host.stop()
    ceiling = ceiling_of(gain=0.01)
    many = [frame for _ in range(10) for frame in frames]
    decisions, _ = run(many, fake_host.url, ceiling, connections=1)
    assert {each.source for each in decisions} == {"fallback"}
    assert not decisions[-1].capped
    assert ceiling.level > 0.4  # it has risen, but for the frames that tried the host


def test_a_run_that_starts_anew_again_and_again_sends_nothing(run, fake_host, frames):
    for _ in range(5):
        run(frames[:3], fake_host.url, ceiling_of())
    assert fake_host.requests == 0


def test_without_a_host_there_is_no_ceiling(bundle, frames):
    sink = KeptSink()
    controller = Controller(bundle, mode="off", threshold=0.62)
    pipeline = Pipeline(bundle, RecordingEngine(bundle), controller, None, sink, ceiling_of())
    assert "ceiling" not in pipeline.run(ListCamera(frames)).to_dict()
    assert not any(each.capped for each in sink.decisions)


def rested(per_s, burst, largest):
    """A byte budget that is full."""
    now = [0.0]
    budget = ByteBudget(per_s, burst, largest, lambda: now[0])
    now[0] = 1e6
    assert budget.fraction == 1.0
    return budget


@pytest.mark.parametrize("connections", [1, 4])
def test_bytes_are_bounded_where_they_leave(run, fake_host, frames, connections):
    """The clock stands still: the burst and the last request are all that is sent."""
    ceiling = Ceiling(0.62, 10, None, rested(1000, 20000, 8192))
    decisions, summary = run(frames, fake_host.url, ceiling, connections=connections)
    sent = sum(each.bytes_sent for each in decisions)
    assert 20000 <= sent <= 20000 + max(each.bytes_sent for each in decisions)
    assert all(each.capped for each in decisions if each.source == "fallback")
    assert summary.to_dict()["ceiling"]["bound"] is None
    assert fake_host.requests == sum(each.bytes_sent > 0 for each in decisions)


def test_a_frame_that_is_not_paid_for_does_not_count_against_the_host(run, fake_host, frames, capsys):
    class Stingy(ByteBudget):
        def pay(self, count):
            return False

    budget = Stingy(1000, 20000, 8192, iter(range(0, 10000, 100)).__next__)
    decisions, _ = run(frames, fake_host.url, Ceiling(0.62, 10, None, budget), connections=2)
    assert all(each.capped and each.source == "fallback" and not each.bytes_sent for each in decisions)
    assert "lost the host" not in capsys.readouterr().err


def test_windows_keep_the_most_they_have_held():
    windows = Windows((3, 5))
    sent = [1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1]
    for each in sent:
        windows.add(bool(each))
    expected = [max(sum(sent[max(0, end - length) : end]) for end in range(1, len(sent) + 1)) for length in (3, 5)]
    assert windows.most == expected == [3, 4]
