"""What defq bundle and defq demo do where no --split is given, and defq gate where no gate is allowed."""

from types import SimpleNamespace

import pytest

from export.calibration.card import ModelCard
from export.calibration.gate import NoGateError
from export.calibration.gate_file import GateFile, GateStage
from export.commands import bundle, cli, gate
from export.networks.model_files import shipped
from tests import tiny

CARD = ModelCard(("a", "b"), (0.05, 0.1, 0.2, 0.4, 1.0), {}, shares={5: (0.9, 0.0, 0.0, 0.0, 0.1)})


@pytest.fixture
def settings(monkeypatch):
    """The settings of the bundles that are exported."""
    found = []
    monkeypatch.setattr(bundle, "export_bundle", lambda _model, _out, settings, *_: found.append(settings))
    monkeypatch.setattr(bundle, "read_card", lambda _: CARD)
    return found


@pytest.mark.parametrize(("option", "split"), [([], 1), (["--split", "2"], 2), (["--split", "all"], None)])
def test_a_bundle_has_the_split_that_is_named_or_the_usual_one_with_its_reason(
    option, split, settings, tmp_path, capsys
):
    assert cli.main(["bundle", "--model", "vgg16", "--out", str(tmp_path / "b"), *option]) == 0
    assert [each.split for each in settings] == [split]
    out = capsys.readouterr().out
    assert ("split 1, because 90% of the calibration images leave up to there" in out) == (not option)


GATE = GateFile(GateStage(9.0, {5: 0.5, 10: 0.4}, tiny.TABLE.steps))


@pytest.fixture
def table(monkeypatch):
    """A table file with gates, the files that were written, and the samples that were asked for."""
    found = SimpleNamespace(written=[], samples=[])
    before = tiny.TABLE.__class__(tiny.TABLE.steps, gate=GATE, last_exit_gates={5: GATE, 10: GATE})
    model = SimpleNamespace(own_table=lambda: before)
    monkeypatch.setattr(gate, "calibrated", lambda *_: (model, None, shipped("vgg16").table))
    monkeypatch.setattr(gate, "write_table", lambda table, _: found.written.append(table))

    def refused(*arguments):
        found.samples.append(arguments[-1])
        raise NoGateError("found 12% of the clean photographs above the noise level 2.0")

    monkeypatch.setattr(gate, "calibrate_gate", refused)
    return found


def test_a_gate_that_is_not_allowed_is_left_out_and_the_command_says_why(table, capsys):
    assert cli.main(["gate", "--model", "vgg16", "--l2-samples", "7"]) == 0
    assert table.samples[0].slow == 7
    assert table.written[0].gate is None
    assert set(table.written[0].last_exit_gates) == {5, 10}
    assert "without a gate: found 12% of the clean photographs" in capsys.readouterr().out


def test_so_is_that_of_a_last_exit(table):
    assert cli.main(["gate", "--model", "vgg16", "--last-exit", "5"]) == 0
    assert table.written[0].gate is GATE
    assert set(table.written[0].last_exit_gates) == {10}
