"""defq evaluate: what is wrong with a command line or a file is one sentence, before hours of work."""

import re

import pytest

from device.errors import OutputError, UsageError
from export.commands import cli
from export.commands import evaluate as evaluation_cli
from export.data import datasets
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES
from export.evaluation import frontier
from export.networks.weights import save_network
from tests import tiny


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "vgg16", "--images", "0"],
        ["--model", "vgg16", "--rad", "x"],
        [],
        ["--adaptive", "--adaptive-steps", "x"],
    ],
)
def test_usage_is_checked_before_data_is_looked_for(options, monkeypatch):
    monkeypatch.setattr(datasets, "load", lambda *_, **__: pytest.fail("looked for data"))
    assert cli.main(["evaluate", *options]) == UsageError.exit_code


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "found neither of --model and --network; expected one of them, or a report"),
        (["--paper", "--weights", "last"], "found --weights, --network, --on or --json beside a report"),
        (["--model", "vgg16", "--rad", "7"], r"found --rad 7; expected some of \[5, 10\]"),
        (["--model", "vgg16", "--rad", "five"], "found --rad five"),
        (["--adaptive", "--adaptive-steps", "30"], "found --adaptive-steps 30; expected numbers of steps"),
        (["--adaptive", "--adaptive-steps", "30:0"], "found --adaptive-steps 30:0"),
        (["--adaptive", "--adaptive-steps", "30:5,x:5"], "found --adaptive-steps 30:5,x:5"),
        (["--model", "vgg16", "--images", "0"], "found --images 0; expected a whole number of at least 1"),
        (["--model", "vgg16", "--defenses", "magic"], "found defence 'magic'"),
        (["--model", "vgg16", "--attacks", "magic", "--images", "1"], "found attack 'magic'"),
    ],
)
def test_usage_errors_are_one_sentence(options, message, data, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "load", lambda *_, **__: data._replace(classes=CIFAR10_CLASSES))
    assert cli.main(["evaluate", *options]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("options", [["--model", "vgg16", "--json"], ["--frontier", "--out"]])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_crafted(
    options, tmp_path, data, monkeypatch, capsys
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(datasets, "load", lambda *_, **__: data)
    monkeypatch.setattr(evaluation_cli, "check_classes", lambda *_: None)  # the data are not those of the network
    for module in (evaluation_cli, frontier):
        monkeypatch.setattr(module, "evaluate", lambda *_: pytest.fail("crafted"))
    assert cli.main(["evaluate", *options, str(tmp_path / "file" / "inside")]) == OutputError.exit_code
    assert "could not write" in capsys.readouterr().err


def test_absent_and_foreign_weights_are_one_sentence(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "load", lambda *_, **__: data)
    assert cli.main(["evaluate", "--model", "vgg16", "--weights", str(tmp_path / "last")]) == 3
    assert "could not" in capsys.readouterr().err
    save_network(tiny.network(), tmp_path / "tiny.safetensors")
    assert cli.main(["evaluate", "--model", "vgg16", "--weights", str(tmp_path / "tiny.safetensors")]) == 3
    assert "Traceback" not in capsys.readouterr().err
