"""``defq bundle --int8``: what a bundle in 8 bits holds, says and refuses."""

from dataclasses import replace

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.errors import DataError
from export.bundle.int8 import calibration_images
from export.bundle.settings import BundleSettings
from export.bundle.writer import write_bundle
from export.calibration.cost import ExitScores
from export.calibration.int8 import Int8Comparison, recalibrated
from tests import tiny

IN_INT8 = BundleSettings(split=2, int8=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(str(tiny.write(tmp_path_factory.mktemp("int8") / "b", IN_INT8)))


def test_the_manifest_says_which_graphs_compute_in_8_bits(bundle, tmp_path):
    assert bundle.precision == {
        "head": "int8",
        "head_flat": "float32",
        "tail": "int8",
        "from_uint8": "float32",
        "from_coefficients": "int8",
    }
    assert "requires" not in bundle.manifest  # earlier releases run these graphs too
    assert set(load_bundle(str(tiny.write(tmp_path / "float32"))).precision.values()) == {"float32"}


def test_figures_and_thresholds_are_those_of_the_graphs_in_8_bits(bundle):
    compared = bundle.manifest["calibration"]["int8"]
    assert compared["images"] == 60
    assert 0 <= compared["same_exits"] <= 1
    point = bundle.manifest["calibration"]["thresholds"]["5"]
    assert point["threshold"] == bundle.thresholds[5]
    assert point["accuracy"] == compared["accuracy"]
    shares = bundle.manifest["calibration"]["shares"]["5"]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert len(shares) == len(bundle.relative_costs)


def test_a_network_that_ends_at_its_last_exit_keeps_its_thresholds():
    scores = ExitScores(np.array([[0.9, 0.3], [0.9, 0.9]]), np.array([[0, 1], [0, 0]]))
    card = replace(tiny.card(tiny.network()), relative_costs=(0.5, 1.0))
    kept = recalibrated(card, scores, np.array([0, 1]), keep_thresholds=True)
    assert {rad: point.threshold for rad, point in kept.thresholds.items()} == tiny.THRESHOLDS
    assert kept.shares[5] == (0.5, 0.5)


def test_a_threshold_is_calibrated_anew_only_where_it_loses_too_much():
    scores = ExitScores(np.array([[0.9, 0.3], [0.9, 0.9]]), np.array([[1, 1], [0, 1]]))
    card = replace(tiny.card(tiny.network()), relative_costs=(0.5, 1.0))
    wrong_at_exit_1 = recalibrated(card, scores, np.array([0, 1]))
    assert wrong_at_exit_1.thresholds[5].threshold > 0.9
    assert wrong_at_exit_1.thresholds[5].accuracy == 1
    right_at_exit_1 = recalibrated(card, scores, np.array([1, 1]))
    assert {rad: point.threshold for rad, point in right_at_exit_1.thresholds.items()} == tiny.THRESHOLDS


def compare(confidence):
    float32 = ExitScores(np.array([[0.9] * 20, [0.9] * 20]), np.zeros((2, 20), int))
    scores = ExitScores(np.array([[0.9] * 18 + [confidence] * 2, [0.9] * 20]), np.zeros((2, 20), int))
    return Int8Comparison.of(scores, 0.8, float32, 0.8, np.zeros(20, int), [0.5, 1.0])


def test_too_many_changed_exits_are_said_in_one_sentence():
    assert compare(0.9).warning() is None
    found = compare(0.1)
    assert (found.same_exits, found.accuracy, found.mean_cost, found.mean_cost_float32) == (0.9, 1.0, 0.55, 0.5)
    assert str(found.warning()).startswith(
        "found 90.0% of the exits unchanged by --int8 and accuracy 1.0000 for 1.0000; expected 95%"
    )


def test_the_export_prints_the_comparison_and_the_warning(tmp_path, capsys):
    tiny.write(tmp_path / "b", IN_INT8)
    out, err = capsys.readouterr()
    assert "int8: " in out
    assert "of 60 calibration images leave at the same exit as in float32" in out
    assert "head and tail agree with the whole network in 8 bits on 100.0%" in out
    assert (err == "") == (load_bundle(str(tmp_path / "b")).manifest["calibration"]["int8"]["same_exits"] >= 0.95)


def test_without_calibration_images(tmp_path, monkeypatch):
    network = tiny.network()
    with pytest.raises(DataError, match="found no calibration images for a bundle in 8 bits"):
        write_bundle("tiny", network, tiny.card(network), tiny.TABLE, tmp_path / "b", IN_INT8, tiny.frames())
    assert not (tmp_path / "b").exists()
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        DataError, match="^found no calibration images for --int8; expected .* with --data, or leave --int8 out$"
    ):
        calibration_images(None, network, tuple(tiny.CLASSES), "stretch")
    with pytest.raises(DataError, match="found no folder"):
        calibration_images(tmp_path / "absent", network, tuple(tiny.CLASSES), "stretch")


def test_a_bundle_without_a_tail(tmp_path):
    bundle = load_bundle(str(tiny.write(tmp_path / "b", replace(IN_INT8, split=None))))
    assert bundle.precision == {"head": "int8", "head_flat": "float32"}


def test_defq_in_front_and_a_last_exit(tmp_path):
    """A bundle with DefQ inside the head and one that ends at its last exit hold the same kinds of files as any other."""
    settings = replace(IN_INT8, fuse_defq=True, last_exit=True)
    bundle = load_bundle(str(tiny.write(tmp_path / "b", settings)))
    assert bundle.thresholds == tiny.THRESHOLDS
    assert bundle.defq_fused
