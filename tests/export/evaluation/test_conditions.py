"""The figures of a condition: network, attack, defence and RAD."""

from dataclasses import replace

import numpy as np
import pytest

from device.errors import UsageError
from export import defences as named_defences
from export.calibration.cost import early_exit, score
from export.calibration.gate_file import GateFile, GateStage
from export.calibration.table_reader import shipped_table
from export.commands import cli
from export.commands import evaluate as evaluation_cli
from export.data import datasets
from export.defences import defence_named, gated
from export.evaluation import conditions
from export.evaluation.conditions import Condition, evaluate, measure, thresholds_behind
from tests import tiny

VGG16 = shipped_table("vgg16")


def row(rows, **wanted):
    (found,) = [each for each in rows if all(getattr(each, key) == value for key, value in wanted.items())]
    return found


def test_figures_are_those_of_the_exit_rule(tiny_model, data):
    rows = evaluate(tiny_model, data, data.test, ("clean",), ("none",), (5, 10))
    scores = score(tiny_model.network, data.test.pixels)
    exits, classes = early_exit(scores, 0.62)
    found = row(rows, rad=5)
    assert found.threshold == 0.62
    assert found.t3_er == pytest.approx(np.mean(exits < 3), abs=1e-4)
    assert found.accuracy == pytest.approx(np.mean(classes == data.test.labels), abs=1e-4)
    assert found.mean_cost == pytest.approx(np.mean(np.array(tiny_model.costs)[exits]), abs=1e-4)
    assert found.exit_histogram == tuple(np.bincount(exits, minlength=5))
    assert row(rows, rad=10).mean_cost <= found.mean_cost


def test_attacks_slow_down_and_a_threshold_an_image_counts(tiny_model, data):
    rows = evaluate(tiny_model, data, data.test, ("clean", "linf"), ("none", "defq"), (5,))
    assert row(rows, attack="linf", defence="none").efcy < row(rows, attack="clean", defence="none").efcy
    scores = score(tiny_model.network, data.test.pixels)
    thresholds = np.where(np.arange(60) < 30, 0.0, 2.0)
    found = measure(scores, data.test.labels, tiny_model, thresholds, 5, Condition("clean", "none"))
    assert found.exit_histogram == (30, 0, 0, 0, 30)


def test_calibrating_behind_a_defence_changes_the_thresholds_alone(tiny_model, data):
    rows = evaluate(tiny_model, data, data.test, ("clean",), ("flat:60", "flat:60@loop"), (5, 10))
    behind = thresholds_behind(defence_named("flat:60", VGG16), tiny_model, data.calibration)
    assert row(rows, defence="flat:60@loop", rad=5).threshold == behind[5]
    assert row(rows, defence="flat:60", rad=5).threshold == 0.62
    assert behind[10] <= behind[5]


def test_a_gate_is_evaluated_with_what_the_last_exit_asks_for(tiny_model, data):
    all_found = GateFile(replace(VGG16.gate.strong, level=0.02, thresholds={5: 0.0, 10: 0.0}), last_exit=4)
    none_found = GateFile(replace(VGG16.gate.strong, level=1e6))
    tiny_model = replace(tiny_model, table=replace(VGG16, gate=none_found, last_exit_gates={5: all_found}))
    names = ("none@last", "gated", "gated@last")
    rows = evaluate(tiny_model, data, data.test.take(10), ("clean",), names)
    found = {(each.defence, each.rad): each.exit_histogram for each in rows}
    assert found["gated@last", 5] == (10, 0, 0, 0, 0)  # at a threshold of 0 all leave at once
    assert found["gated@last", 10] == found["none@last", 10]  # no gate for this one: that of the whole network


IMPOSSIBLE = [
    (
        "clean,linf,adaptive",
        "none,defq,jpeg:75",
        "found an adaptive attack on jpeg:75; expected a defence with a gradient",
    ),
    ("clean,linf,adaptive:5", "none,bits:5", "found an adaptive attack on bits:5"),
    ("linf,adaptive@3", "none,median@loop", "found an adaptive attack on median"),
    ("linf,adaptive", "defq,gaussian:1,resizing@last", "found an adaptive attack on gaussian:1"),
    ("linf,l2,magic", "none,defq", "found attack 'magic'"),
    ("linf,adaptive:0", "none", "found attack 'adaptive:0'"),
    ("linf", "none,defq,magic", "found defence 'magic'"),
    ("linf,adaptive@9", "none,defq", "found exit 9 to attack up to; expected 2 to 5"),
    ("linf,adaptive@1", "none,defq", "found exit 1 to attack up to; expected 2 to 5"),
    ("linf,adaptive@4", "none,none@last", "found exit 4 to attack up to; expected 2 to 3"),
    ("linf", "none,defq@last", "found a calibration of vgg16 without a last exit for RAD 10"),
    ("linf", "none,gated", "found gated for RAD 5, 10 with a gate that knows [5]"),
]


@pytest.mark.parametrize(("attacks", "defences_", "message"), IMPOSSIBLE)
def test_what_cannot_be_combined_is_refused_before_anything_is_crafted(
    attacks, defences_, message, tiny_model, data, monkeypatch, capsys
):
    one_rad = GateFile(GateStage(1.0, {5: 0.5}, np.full((8, 8), 30.0))).gate()
    knows = tiny.calibrated(tiny_model.network, {5: 3} if "without" in message else {5: 3, 10: 3}, VGG16)
    monkeypatch.setattr(evaluation_cli, "model_to_evaluate", lambda *_: knows)
    monkeypatch.setitem(named_defences._FORMS, "gated", lambda name, _table: gated(name, one_rad))
    monkeypatch.setattr(datasets, "load", lambda *_, **__: data)
    monkeypatch.setattr(conditions, "attacked", lambda *_: pytest.fail("crafted"))
    monkeypatch.setattr(conditions, "scores_of", lambda *_: pytest.fail("scored"))
    arguments = ["evaluate", "--model", "vgg16", "--attacks", attacks, "--defenses", defences_]
    assert cli.main(arguments) == UsageError.exit_code
    assert message in capsys.readouterr().err
