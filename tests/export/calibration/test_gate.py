"""The calibrated gate keeps its promises, before a last exit and against an attacker who knows it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from device.bundle.calibration import check_gate
from export.calibration import attacked_images, scored_frames
from export.calibration import gate as gate_calibration
from export.calibration.cost import operating_point, score
from export.calibration.gate import calibrate_gate
from export.calibration.gate_file import GateFile, GateStage
from export.calibration.last_exit import up_to
from export.calibration.scored_frames import ScoredFrames
from export.calibration.table_reader import own_table, shipped_table
from export.commands import cli, inputs
from export.data import datasets
from export.defences import gated
from export.evaluation.conditions import Condition, measure
from export.networks.model_files import made_here, shown
from tests import tiny

VGG16 = shipped_table("vgg16")


def test_a_calibrated_gate_keeps_its_promises_on_the_images_it_was_made_on(tiny_model, data):
    found = calibrate_gate(tiny_model, data)
    gate = check_gate({"gate": found.as_json()}, (5, 10), "a table")
    assert found.weights_sha256 == "tiny"
    strong, *weak = gate.stages
    assert set(strong.thresholds) == {5, 10}
    assert all(strong.thresholds[rad] <= threshold for rad, threshold in tiny_model.thresholds.items())
    for stage in weak:
        assert stage.level < strong.level


def test_a_gate_before_a_last_exit_counts_what_that_costs(tiny_model, data, monkeypatch):
    monkeypatch.setattr(gate_calibration, "LOSS_AT_LAST_EXIT", (0.05, 0.1))
    model = tiny.calibrated(tiny_model.network, {5: 4, 10: 3}, VGG16)
    gate = calibrate_gate(model, data, ending=5)
    assert gate.last_exit == 4
    frames = ScoredFrames(data.calibration.pixels, data.calibration.labels, model, 4)
    stages = [gate.strong] if gate.weak is None else [gate.weak, gate.strong]
    found = frames.at(5, *stages)
    if gate.weak:  # else there was nothing harmless to choose
        assert found.accuracy >= frames.undefended(5).accuracy - 0.1
        assert found.t3_er >= frames.undefended(5).t3_er
    whole = ScoredFrames(data.calibration.pixels, data.calibration.labels, model)
    assert frames.undefended(5) == whole.undefended(5) == whole.at(5)._replace(threshold=0.62)
    ended = up_to(frames.plain, 4)
    point = operating_point(ended, data.calibration.labels, model.costs[:4], 0.62)
    assert frames.at(5)._replace(threshold=0.62) == point


def test_thresholds_of_the_gate_reckon_with_an_attacker_who_knows_it(tiny_model, data):
    blind = calibrate_gate(tiny_model, data, blind=True)
    knowing = calibrate_gate(tiny_model, data)
    assert "adaptive" not in blind.images
    table = knowing.strong.table
    assert np.array_equal(table, blind.strong.table)
    most = {5: 0.5, 10: 10.0}
    target = gate_calibration.adaptive_target(tiny_model, data, data.calibration, table, most)
    assert target.efcy[5] <= 0.5  # frames need not leave earlier than clean ones do
    most = {
        rad: gate_calibration.RESTORED
        * ScoredFrames(data.calibration.pixels, data.calibration.labels, tiny_model).at(rad).efcy
        for rad in (5, 10)
    }
    target = gate_calibration.adaptive_target(tiny_model, data, data.calibration, table, most)
    for rad, wanted in target.efcy.items():
        low = knowing.strong.thresholds[rad]
        reached = target.frames.at(rad, knowing.strong).efcy
        assert reached >= wanted or low == 0  # nothing leaves earlier than at a threshold of 0
        if knowing.strong.level == blind.strong.level:
            assert low <= blind.strong.thresholds[rad]


def test_frames_behind_two_stages_is_what_the_device_would_do(tiny_model, data, monkeypatch):
    frames = ScoredFrames(data.test.pixels, data.test.labels, tiny_model)
    low, high = np.quantile(frames.levels, [0.3, 0.7])
    weak = GateStage(float(low), {5: 0.5}, np.full((8, 8), 20.0))
    strong = GateStage(float(high), {5: 0.4}, np.full((8, 8), 50.0))
    monkeypatch.setattr(scored_frames, "LEVELS", np.array([0.0]))
    point = frames.at(5, weak, strong)
    gate = GateFile(strong, weak).gate()
    defence = gated("gated", gate)
    scores = score(tiny_model.network, defence.pixels(data.test.pixels))
    thresholds = defence.thresholds(data.test.pixels, 5, 0.62)
    found = measure(scores, data.test.labels, tiny_model, thresholds, 5, Condition("clean", "gated"))
    assert found.accuracy == pytest.approx(point.accuracy, abs=1e-4)
    assert found.efcy == pytest.approx(point.efcy, abs=1e-4)


def test_gate_writes_a_table_of_its_own_and_keeps_the_rest(tmp_path, monkeypatch, tiny_model, data, capsys):
    tiny_model = replace(tiny_model, identity=VGG16.weights_sha256)
    monkeypatch.setattr(
        inputs, "calibrated_model", lambda files, data, without: replace(tiny_model, table=own_table(files, without))
    )
    monkeypatch.setattr(datasets, "load", lambda *_, **__: data)
    monkeypatch.setattr(attacked_images, "PER_SAMPLE", tiny.QUICK_ATTACKS)
    shipped_text = VGG16.file.read_text()
    assert cli.main(["gate", "--model", "vgg16"]) == 0
    made = made_here("vgg16").table
    said = capsys.readouterr().out
    assert f"table {shown(VGG16.file)}" in said
    assert f"wrote {made}" in said
    written = json.loads(made.read_text())
    assert {**written, "gate": 0} == {**VGG16.as_json(), "gate": 0}
    assert written["gate"] != VGG16.as_json()["gate"]
    assert check_gate(written, (5, 10), "table.json")
    assert written["gate"]["images"] == {"clean": 60, "linf": 60, "l2": 50, "adaptive": 60}
    assert cli.main(["gate", "--model", "vgg16", "--last-exit", "10"]) == 0
    assert f"table {made}" in capsys.readouterr().out  # goes on from what the first one wrote
    again = json.loads(made.read_text())
    gates = again["last_exit_gates"]
    assert gates["10"]["last_exit"] == 4
    assert {**again, "last_exit_gates": 0} == {**written, "last_exit_gates": 0}  # the other gate stays
    assert gates == {**written.get("last_exit_gates", {}), "10": gates["10"]}  # and that of the other RAD
    assert VGG16.file.read_text() == shipped_text
