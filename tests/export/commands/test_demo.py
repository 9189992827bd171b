"""What the demo chooses by the network: frames, their number, RAD, split and conditions."""

from types import SimpleNamespace

import numpy as np
import pytest

from device.errors import DataError
from export.commands import demo, demo_frames
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES
from export.evaluation.demo_report import TITLES, DemoCondition, DemoReport, Latency
from export.evaluation.histograms import exit_histograms
from tests import tiny

RAN = DemoCondition(10, 0.5, 0.5, 0.6, Latency(2.0, 1.5, 4.0), 5, 5120, (3, 2, 5), 0.9)
SUMMARY = {
    "frames": 10, "skipped": 0, "edge_exit_ratio": 0.5, "t3_er": 0.5, "efcy": 0.6, "latency_ms": {"mean": 2.0, "p50": 1.5, "p99": 4.0, "max": 9.0},
    "frames_to_host": 5, "bytes_to_host": 5120, "exit_histogram": [3, 2, 5], "accuracy": 0.9,
}  # fmt: skip


def files_of(classes):
    return SimpleNamespace(description=SimpleNamespace(classes=classes, fit="crop", data_source=""))


@pytest.mark.parametrize(("side", "count"), [(32, 300), (96, 300), (128, 168), (224, 100)])
def test_a_larger_network_is_shown_fewer_frames(side, count):
    assert demo_frames.usual_count((side, side)) == count


def test_a_bundle_without_a_gate_is_not_run_with_one(capsys):
    assert list(demo.demo_conditions(SimpleNamespace(gate=object()))) == list(demo.CONDITIONS)
    assert not capsys.readouterr().out
    left = demo.demo_conditions(SimpleNamespace(gate=None))
    assert list(left) == ["clean", "clean_defq", "attacked", "attacked_defq"]
    assert len(left) in demo.TIMES
    assert "no noise gate" in capsys.readouterr().out


def test_the_report_keeps_what_the_summary_of_a_run_says():
    assert DemoCondition.from_summary(SUMMARY) == RAN
    report = DemoReport("tiny", 2, "photos: a virtual camera", 5, "agreement", {"attacked_defq": RAN})
    (kept,) = report.as_json()["conditions"].values()
    assert kept["agreement"] == 0.9
    assert kept["latency_ms"] == {"mean": 2.0, "p50": 1.5, "p99": 4.0}
    heading, names, line = report.table().splitlines()
    assert heading == "tiny, exits 1..2 on the device, RAD 5 %, photos: a virtual camera"
    assert names.split() == [
        "on",
        "device",
        "T3-ER",
        "EFCY",
        "agreement",
        "mean",
        "ms",
        "p99",
        "ms",
        "to",
        "host",
        "kB",
        "sent",
    ]
    assert line.split() == ["attacked", "+", "DefQ", "50%", "0.50", "0.60", "0.90", "2.00", "4.00", "5", "5"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frames": 0}, "found 0 under frames"),
        ({"efcy": 1.5}, "found 1.5 under efcy"),
        ({"exit_histogram": [1, -1]}, "expected a list of whole numbers"),
        ({"latency_ms": None}, "expected a JSON object"),
    ],
)
def test_a_summary_that_is_none_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        DemoCondition.from_summary({**SUMMARY, **changed})


@pytest.mark.parametrize("names", [list(TITLES), [name for name in TITLES if "gated" not in name]])
def test_the_picture_has_a_panel_for_each_condition(names, tmp_path):
    report = DemoReport("tiny", 2, "frames", 5, "accuracy", dict.fromkeys(names, RAN))
    exit_histograms(report, tmp_path / "histograms.png")
    assert (tmp_path / "histograms.png").stat().st_size > 5000


@pytest.mark.parametrize(("classes", "rad", "told"), [(CIFAR10_CLASSES, 10, False), (("cup", "bowl", "mug"), 5, True)])
def test_without_data_a_virtual_camera_stands_in_and_it_is_said_what_it_shows(
    classes, rad, told, monkeypatch, tiny_model, no_data, capsys
):
    def no_data_set(*_):
        raise DataError("found no data")

    monkeypatch.setattr(demo_frames, "data_of", no_data_set)
    shown = demo_frames.demo_frames(files_of(classes), tiny_model.network, 4, None)
    assert shown.pixels.shape == (4, 16, 16, 3)
    assert shown.pixels.dtype == np.uint8
    assert (shown.rad, shown.measure, shown.data) == (rad, "agreement", None)
    assert shown.source.startswith("photos: ")
    assert len(shown.labels) == 4
    out = capsys.readouterr().out
    assert "no data set: found no data" in out
    assert ("not made for" in out) == told


def test_time_of_a_gradient_is_measured(tiny_model):
    images = demo.to_tensor(tiny.frames(4))
    assert 0 < demo.gradient_s(tiny_model.network, images) < 10
