"""defq bench --compare: two reports side by side, and files that are no reports."""

import json

import pytest

from device.commands.compare import FORMAT, compare
from device.errors import DataError


def report(p50=2.0, energy=0.02, engine="onnxruntime CPU", conditions=("clean", "attacked")):
    condition = {
        "frames_per_s": 1000 / p50, "stage_ms": {"total": {"p50": p50, "p99": 3 * p50}}, "frames": 200,
        "frames_to_host": 50, "bytes_to_host": 400000, "accuracy": 0.9, "j_per_frame": energy,
    }  # fmt: skip
    return {
        "format": FORMAT, "format_version": 1, "bundle": "tiny", "engine": engine, "rad": 5, "host": None, "rate": None,
        "machine": {"board": "Pi 5", "cores": 4}, "conditions": {name: condition for name in conditions},
    }  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def go(name, content):
        file = tmp_path / name
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(file)

    return go


def test_two_reports_side_by_side(write):
    text = compare(write("a.json", report()), write("b.json", report(4.0, None, "onnxruntime CUDA")))
    lines = [line.split() for line in text.splitlines()]
    assert ["clean", "p50", "ms", "2.00", "4.00", "2.00"] in lines
    assert ["attacked", "frames/s", "500.00", "250.00", "0.50"] in lines
    assert ["clean", "mJ/frame", "20.00", "unavailable", "-"] in lines
    assert ["clean", "kB/frame", "2.00", "2.00", "1.00"] in lines
    assert "different engine: onnxruntime CPU and onnxruntime CUDA" in text


def test_only_conditions_of_both_are_compared(write):
    text = compare(write("a.json", report()), write("b.json", report(conditions=("clean",))))
    assert "attacked" not in text
    with pytest.raises(DataError, match="no condition in both"):
        compare(write("a.json", report(conditions=("attacked",))), write("b.json", report(conditions=("clean",))))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", json.dumps({"format": "other", "format_version": 1}), json.dumps(dict(report(), format_version=9)),
     json.dumps(dict(report(), conditions={"clean": {}})), json.dumps(dict(report(), conditions=None)), "[" * 100000,
     json.dumps(dict(report(), machine=None)), json.dumps(report()).replace('"frames": 200', '"frames": 0'),
     json.dumps(report()).replace('"accuracy": 0.9', '"accuracy": 1' + "0" * 400)],
)  # fmt: skip
def test_another_file_is_one_sentence(write, content):
    with pytest.raises(DataError, match="found no bench report .*; make one with: defq bench "):
        compare(write("a.json", content), write("b.json", report()))


def test_what_a_report_says_does_not_reach_the_terminal_as_an_escape_sequence(write):
    other = dict(report(engine="\x1b[2J"), machine={"board": "\x1b]0;x\x07", "cores": 4}, bundle="a\nb")
    text = compare(write("a.json", report()), write("b.json", other))
    assert "\x1b" not in text
    assert "\\x1b[2J" in text


def test_an_absent_file_is_one_sentence(write, tmp_path):
    with pytest.raises(DataError, match="could not read"):
        compare(write("a.json", report()), str(tmp_path / "absent.json"))
