"""The reports hold every cell, keep the rows of other networks, and put the paper's figures beside ours."""

import csv
import json
from dataclasses import replace

import pytest

from device.errors import OutputError
from export.calibration import attacked_images
from export.calibration.table_reader import shipped_table
from export.commands import cli
from export.commands import evaluate as evaluation_cli
from export.data import datasets
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES
from export.evaluation import adaptive, comparison, frontier, paper, reports, transfer
from export.evaluation.conditions import evaluate
from export.evaluation.markdown import markdown_table
from export.evaluation.rows import TransferRow
from export.evaluation.run_facts import write_json
from tests import tiny


def row(rows, **wanted):
    (found,) = [each for each in rows if all(getattr(each, key) == value for key, value in wanted.items())]
    return found


def patched(monkeypatch, tiny_model):
    """The reports, on the tiny network under the name of a real one."""
    for module in (paper, comparison, frontier, adaptive, transfer, reports):
        monkeypatch.setattr(
            module, "shipped_model", lambda model: replace(tiny_model, name=model, table=shipped_table(model))
        )
    monkeypatch.setattr(attacked_images, "PER_SAMPLE", tiny.QUICK_ATTACKS)


def test_the_reports_hold_every_cell(tmp_path, monkeypatch, tiny_model, data, capsys):
    patched(monkeypatch, tiny_model)
    ten = data._replace(classes=CIFAR10_CLASSES)
    monkeypatch.setattr(datasets, "load", lambda *_, **__: ten)
    monkeypatch.setattr(adaptive, "ADAPTIVE", ("none", "defq", "moving-grid"))
    monkeypatch.setattr(comparison, "times", lambda: {"defq": {"32x32": 20.0, "640x480": 3000.0}})
    out = tmp_path / "reports"
    arguments = [
        "evaluate",
        "--paper",
        "--compare",
        "--frontier",
        "--adaptive",
        "--transfer",
        "--quick",
        "--images",
        "12",
        "--out",
        str(out),
    ]
    monkeypatch.setattr(evaluation_cli, "QUICK", reports.Size(12, 4, 4, 12, {2: 3, 3: 2}))
    monkeypatch.setattr("export.evaluation.figures.confidence_bars", lambda *_: None)  # ten classes, which tiny has not
    assert cli.main(arguments) == 0
    text = (out / "paper.md").read_text()
    assert "not run" not in text
    assert text.count("VGG-16, RAD 5") >= 3
    assert "Table IV" in text
    assert "0.02 -> 0.53 / **" in text  # the paper's figure beside ours
    with (out / "paper.csv").open() as file:
        rows = list(csv.DictReader(file))
    # three networks x four attacks x two defences x two RADs, 8 bit and float, and three ranges at two RADs
    assert len(rows) == 3 * 4 * 2 * 2 * 2 + 3 * 2
    for name in ("figure2.png", "figure4.png", "figure6.png", "frontier.png"):
        assert (out / name).stat().st_size > 5000, name
    for name in ("gated", "gated@last"):
        assert f"| {name} |" in (out / "comparison.md").read_text()
    known = (out / "adaptive.md").read_text()
    assert "| moving-grid |" in known
    assert "patches test images: clean the first" in known
    assert "grey the first 3, adaptive:2 the first 3, adaptive:3 the first 2." in known
    assert "| vgg16 |" in (out / "transfer.md").read_text()
    assert "feature distillation" in (out / "frontier.md").read_text()
    assert "| DefQ, table searched | searched |" in (out / "frontier.md").read_text()
    assert json.loads((out / "run.json").read_text())["transfer"]["l2"] == 4
    assert "wrote" in capsys.readouterr().out
    before = {file.name: file.read_text() for file in (*out.glob("*.[cm][sd]*"), out / "run.json")}
    (out / "figure2.png").unlink()
    assert cli.main([*arguments, "--model", "mobilenet"]) == 0  # one network again: the others' rows stay
    assert not (out / "figure2.png").exists()  # it shows VGG-16
    assert {file.name: file.read_text() for file in (*out.glob("*.[cm][sd]*"), out / "run.json")} == before
    other = ["10" if word == "12" else word for word in arguments]
    crafted = sorted((tmp_path / "attacks").iterdir())
    assert cli.main([*other, "--model", "mobilenet"]) == 3
    assert "found 12 images of vgg16 under clean" in capsys.readouterr().err
    assert sorted((tmp_path / "attacks").iterdir()) == crafted  # refused before hours of work


def test_transfer_of_a_network_to_itself_is_plain_defq(monkeypatch, tiny_model, data):
    patched(monkeypatch, tiny_model)
    rows = transfer.transfer(data, ("vgg16", "mobilenet"), 10)
    own = row(rows, kind="table", source="vgg16", model="vgg16", rad=5)
    plain = row(evaluate(tiny_model, data, data.test.take(10), ("linf",), ("defq",), (5,)), rad=5)
    assert own == TransferRow(kind="table", source="vgg16", **vars(replace(plain, model="vgg16")))
    assert row(rows, kind="attack", source="vgg16", model="vgg16", defence="defq", rad=5).efcy == plain.efcy


def test_papers_figures_are_complete_and_lie_in_zero_to_one():
    for metric in paper.PAPER.values():
        assert tuple(metric) == paper.ATTACKS
        for cells in metric.values():
            assert set(cells) == set(paper.MODELS)
            assert all(len(each) == 4 and 0 <= min(each) <= max(each) <= 1 for each in cells.values())


def test_a_table_in_markdown():
    assert markdown_table([["a", "b"], ["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_json_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not make the folder"):
        write_json(tmp_path / "file" / "out.json", {})
