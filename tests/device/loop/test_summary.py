"""The figures of a run: what is counted, and how the console shows it."""

import re

import numpy as np
import pytest

from device.loop.sinks import Decision
from device.loop.summary import Summary

COSTS = [0.25, 0.5, 0.75, 1.0]


def decision(exit_=1, source="edge", ms=None, **fields):
    return Decision(
        0, 3, "circle", 0.9, exit_, source, ms or {"head": 1.0, "total": 2.0}, fields.pop("sent", 0), **fields
    )


def summary_of(*decisions):
    summary = Summary(COSTS)
    for each in decisions:
        summary.add(each)
    return summary


def test_a_run_without_frames():
    summary = Summary(COSTS)
    summary.skipped = 4
    assert summary.to_dict() == {
        "frames": 0, "skipped": 4, "dropped": 0, "reopened": 0, "sources": {"edge": 0, "host": 0, "fallback": 0},
    }  # fmt: skip
    assert summary.text() == "0 frames (4 skipped)"


def test_sources_and_exits():
    figures = summary_of(decision(1), decision(2), decision(4, "host"), decision(2, "fallback")).to_dict()
    assert figures["sources"] == {"edge": 2, "host": 1, "fallback": 1}
    assert figures["edge_exit_ratio"] == 0.5
    assert figures["exit_histogram"] == [1, 2, 0, 1]  # where the answer came from


def test_a_fallback_frame_did_not_leave_where_it_was_answered():
    left, stayed = summary_of(decision(2)).to_dict(), summary_of(decision(2, "fallback")).to_dict()
    assert (left["t3_er"], stayed["t3_er"]) == (1, 0)
    assert stayed["efcy"] == summary_of(decision(4, "host")).to_dict()["efcy"] < left["efcy"]


def test_efcy_is_the_area_under_the_curve():
    figures = summary_of(decision(2), decision(4, "host")).to_dict()
    # (0, 0), (0.25, 0), (0.5, 0.5), (0.75, 0.5), (1, 1)
    assert figures["efcy"] == pytest.approx(0.25 * (0 + 0.25 + 0.5 + 0.75))


def test_stages_are_averaged_over_the_frames_that_have_them():
    figures = summary_of(
        decision(ms={"head": 1.0, "total": 2.0}), decision(4, "host", {"head": 3.0, "host": 8.0, "total": 12.0})
    ).to_dict()
    assert figures["stage_ms"] == {"head": 2.0, "total": 7.0, "host": 8.0}


def test_frames_and_bytes_of_each_payload_form():
    figures = summary_of(
        decision(4, "host", sent=1000, payload="uint8"), decision(4, "host", sent=500, payload="uint8"),
        decision(2, "fallback", sent=4000, payload="fp32"), decision(1),
    ).to_dict()  # fmt: skip
    assert (figures["frames_to_host"], figures["bytes_to_host"]) == (3, 5500)
    assert figures["payloads"] == {"fp32": {"frames": 1, "bytes": 4000}, "uint8": {"frames": 2, "bytes": 1500}}


def test_accuracy_is_of_the_frames_whose_label_is_known():
    assert "accuracy" not in summary_of(decision()).to_dict()
    assert summary_of(decision(truth=3), decision(truth=2), decision()).to_dict()["accuracy"] == 0.5


def test_quantised_and_attacked_frames():
    figures = summary_of(
        decision(quantised=True), decision(quantised=True, attacked=True), decision(attacked=False)
    ).to_dict()
    assert (figures["quantised_frames"], figures["attacked_frames"]) == (2, 1)
    assert "attacked_frames" not in summary_of(decision(quantised=True)).to_dict()


@pytest.mark.parametrize("count", [100, 4096, 20000])
def test_percentiles_of_any_number_of_frames(count):
    """For more than 4,096 numbers, percentiles are taken from counts in steps of 1 %."""
    values = np.random.RandomState(0).gamma(2.0, 3.0, count)
    latency = summary_of(*(decision(ms={"total": value}) for value in values)).to_dict()["latency_ms"]
    assert latency["mean"] == pytest.approx(values.mean())
    for name, percent in (("p50", 50), ("p99", 99)):
        assert latency[name] == pytest.approx(np.percentile(values, percent), rel=0.01)


def test_times_beyond_what_is_counted_in_steps():
    summary = summary_of(*(decision(ms={"total": value}) for value in [0.0, 1e12] * 3000))
    latency = summary.to_dict()["latency_ms"]
    assert latency["p50"] <= 0.0011
    assert latency["p99"] > 1e7


def test_text_says_what_was_lost_and_what_was_found():
    summary = summary_of(
        decision(ms={"total": 2.0, "age": 40.0}), decision(attacked=True, quantised=True, truth=3),
        decision(4, "host", sent=2500, payload="uint8"),
    )  # fmt: skip
    summary.skipped, summary.dropped, summary.reopened, summary.alarms = 1, 2, 3, 0
    text = summary.text()
    for part in (
        "3 frames: 2 left on the device, 1 answered by the host, 0 fallback", "1 skipped", "2 dropped by the camera",
        "reopened 3 times", "1 counted as attacked", "sent 1 frames, 2.5 kB (1 as uint8 of 2.5 kB)",
        "frame age at the decision: p50 40.0 ms", "monitor: 0 alarms; 1 frames behind DefQ",
    ):  # fmt: skip
        assert part in text


def test_text_leaves_out_what_did_not_happen():
    text = summary_of(decision()).text()
    for word in ("skipped", "dropped", "reopened", "attacked", "frame age", "monitor", "accuracy", "as fp32"):
        assert word not in text


def test_numbers_of_the_text_have_two_decimals_at_most():
    text = summary_of(
        decision(ms={"resize": 0.123456, "total": 2.34567, "age": 3.45678}, truth=3), decision(truth=1), decision(truth=1),
        decision(4, "host", sent=1234567, payload="fp32"),
    ).text()  # fmt: skip
    assert re.findall(r"\d+\.\d{3,}", text) == []
    assert "accuracy 33.33 %" in text
