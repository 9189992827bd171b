"""table.json: those that are shipped, parts of other weights, and wrong values."""

import json

import numpy as np
import pytest

from device.bundle.calibration import check_gate, check_monitor
from device.errors import DataError
from export.calibration.table_file import write_table
from export.calibration.table_reader import own_table, read_table, shipped_table
from export.data.shipped import shipped_names
from export.networks.model_files import shipped


def content():
    return json.loads(shipped("vgg16").table.read_text())


def read(tmp_path, changed, **options):
    (tmp_path / "t.json").write_text(json.dumps(changed))
    return read_table(tmp_path / "t.json", "--model vgg16", **options)


@pytest.mark.parametrize("model", shipped_names())
def test_a_shipped_table_is_written_as_it_was_read(model, tmp_path):
    write_table(own_table(shipped(model)), tmp_path / "table.json")
    assert (tmp_path / "table.json").read_bytes() == shipped(model).table.read_bytes()


@pytest.mark.parametrize("model", shipped_names())
def test_the_device_reads_the_same_from_it(model):
    table = shipped_table(model)
    gate = check_gate(table.as_json(), (5, 10), "t.json")
    assert (gate is None) == (table.gate is None) == (model == "signs")
    for ours, theirs in zip(table.gate.gate().stages if gate else (), gate.stages if gate else (), strict=True):
        assert (ours.level, ours.thresholds) == (theirs.level, theirs.thresholds)
        assert ours.table.dtype == np.float32
        assert np.array_equal(ours.table, theirs.table)
    exits = len(table.monitor.shares[5].clean)
    shares = check_monitor(table.as_json(), exits, (5, 10), "t.json")
    for rad, found in table.monitor.exit_shares(exits, (5, 10)).items():
        for ours, theirs in zip(found, shares[rad], strict=True):
            assert np.array_equal(ours, theirs)


def test_members_that_this_release_does_not_know_stay(tmp_path):
    table = read(tmp_path, {**content(), "twin": {"of": [1, 2]}})
    write_table(table, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == {**content(), "twin": {"of": [1, 2]}}


def test_a_table_alone_is_enough(tmp_path):
    table = read(tmp_path, {"table": [[7] * 8] * 8})
    assert table.gate is table.monitor is table.searched is None
    assert json.loads(json.dumps(table.as_json())) == {
        "format": "defq-table",
        "format_version": 1,
        "table": [[7] * 8] * 8,
    }


GATE = {"level": 1.0, "thresholds": {"5": 0.5}, "table": [[20] * 8] * 8}
WRONG = [
    ({"table": [[0] * 8] * 8}, "found no usable table in .*; expected .* 8 rows of 8 steps"),
    (
        {"mean_ratios": [1, 2]},
        "found no usable table in .* under mean_ratios; expected 8 rows of 8 numbers.* defq table --model vgg16",
    ),
    ({"attack": {"name": 7}}, "found 7 under attack.name; expected a text"),
    ({"seed": 1.5}, "found 1.5 under seed; expected a whole number"),
    ({"sample_ids": 5}, "found 5 under sample_ids"),
    ({"gate": {"level": 9}}, "found no usable gate in .* defq gate --model vgg16"),
    ({"gate": {**GATE, "level": -1}}, "found -1 under gate.level; expected a number from 0"),
    ({"gate": {**GATE, "level": float("inf")}}, "found inf under gate.level"),
    ({"gate": {**GATE, "thresholds": {"5": 1.1}}}, "found 1.1 under gate.thresholds.5; expected a number from 0 to 1"),
    ({"gate": {**GATE, "table": [[20] * 8] * 7}}, "found no usable table under gate.table"),
    ({"gate": {**GATE, "weak": GATE}}, "found gate.weak.level 1.0; expected it below gate.level, 1.0"),
    ({"gate": 7}, "found 7 at gate; expected a JSON object"),
    ({"last_exit_gates": None}, "found no usable last_exit_gates .* defq gate --model vgg16 --last-exit 5"),
    ({"last_exit_gates": []}, "found no usable last_exit_gates"),
    ({"last_exit_gates": {"5": 1.0}}, "found no usable last_exit_gates .*found 1.0 at last_exit_gates.5"),
    ({"monitor": {}}, "found no usable monitor in .*found no monitor.shares.* defq monitor --model vgg16"),
    ({"monitor": {"shares": {"5": {"clean": [0.5, 0.5]}}}}, "found no monitor.shares.5.attacked"),
    ({"searched": {"table": 1}}, "found no usable searched in .* defq search --model vgg16"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_value_is_refused_by_its_name(change, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(tmp_path, {**content(), **change})


@pytest.mark.parametrize("part", ["gate", "monitor", "searched"])
def test_a_part_of_other_weights_is_refused(part, tmp_path):
    changed = content()
    changed[part]["weights_sha256"] = "0123456789abcdef"
    with pytest.raises(DataError, match=f"found a {part} of weights 0123456789ab in .*; the table's are 49e0af6f568a"):
        read(tmp_path, changed)
    assert getattr(read(tmp_path, changed, without=part), part) is None


@pytest.mark.parametrize("gates", [7, {"5": "damaged"}])
def test_a_damaged_part_can_be_replaced(gates, tmp_path):
    table = read(tmp_path, {**content(), "gate": 7, "last_exit_gates": {}}, without="gate")
    assert table.gate is None
    assert table.monitor is not None
    table = read(tmp_path, {**content(), "last_exit_gates": gates}, without="last_exit_gates.5")
    assert table.last_exit_gates == {}
