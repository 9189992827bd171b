"""defq harden, on a network of four blocks: a folder that all other commands take."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from device.bundle.reader import load_bundle
from device.pictures.fit import STRETCH
from export.calibration import twin as twin_module
from export.calibration.card import read_card
from export.calibration.cost import relative_costs
from export.calibration.table_reader import own_table
from export.calibration.twin import FILE, TwinRow, needs_defq, twin_files
from export.commands import inputs
from export.commands.cli import main
from export.data.cifar10 import CLASSES
from export.data.images import Dataset, Images
from export.networks import mobilenet
from export.networks.loading import load_network
from export.networks.model_files import destination, in_folder, shipped
from export.networks.model_folder import ModelDescription, described, write_description
from export.networks.weights import save_network
from tests import tiny


@pytest.fixture
def folder(tmp_path, monkeypatch):
    part = Images(tiny.frames(60), (np.arange(60) % 3).astype(np.int64))
    data = Dataset(part, part.take(30), part.take(20), CLASSES[:3], "test", name="CIFAR-10")
    monkeypatch.setattr(mobilenet, "SPEC", tiny.SPEC)
    monkeypatch.setattr(inputs, "data_of", lambda *_: data)
    monkeypatch.setattr(twin_module, "LEARNED", 10)
    monkeypatch.setattr(twin_module, "WATCHED", 10)
    monkeypatch.setattr(twin_module, "TWIN_SAMPLES", 10)
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "mine" / "weights.safetensors"
    save_network(tiny.network(), weights, classes=CLASSES[:3])
    description = ModelDescription("mobilenet", (16, 16), STRETCH, (), (1, 2, 3, 4))
    write_description(described(description, data), weights.with_name("model.json"))
    return weights.parent


@pytest.fixture
def harden(folder):
    def run(*words):
        options = ("--epochs", "1", "--batch", "20", "--peak-rate", "0.01", "--last-exit", "3")
        return main(["harden", "--model", "mine", *options, *words])

    return run


def test_it_makes_a_folder_that_other_commands_take(harden, folder, capsys):
    assert harden() == 0
    out = capsys.readouterr().out
    assert "hardens mobilenet up to exit 3" in out
    assert "epoch 1/1" in out
    assert "slow-down   none" in out
    files = in_folder(folder / "twin")
    network, whole = load_network(files), load_network(in_folder(folder))
    assert files.description.ends == 3
    assert len(network.ics) == 2
    card = read_card(files)
    assert list(card.relative_costs) == pytest.approx(relative_costs(whole)[:3], abs=1e-6)
    assert own_table(files).own_monitor().exit_shares(3, card.thresholds)
    found = json.loads((folder / "twin" / FILE).read_text())
    assert found["of_sha256"] == in_folder(folder).sha256
    assert found["weights_sha256"] == files.sha256
    assert len(found["rows"]) == 2 * 3 * 2
    assert main(["calibrate", "--model", "mine/twin"]) == 0
    assert read_card(files).relative_costs == card.relative_costs
    with torch.no_grad():
        images = torch.rand(4, 3, 16, 16)
        assert torch.equal(network(images), load_network(in_folder(folder / "twin"))(images))


def test_it_can_be_bundled_alone(harden):
    assert harden() == 0
    assert main(["bundle", "--model", "mine/twin", "--split", "all", "--out", "alone"]) == 0
    assert load_bundle("alone").relative_costs[-1] < 1


@pytest.mark.parametrize(("form", "graphs"), [("head", ["head", "head_flat"]), ("both", ["head", "head_flat", "tail"])])
def test_a_bundle_carries_it_beside_the_network(form, graphs, harden, folder):
    assert harden() == 0
    assert main(["calibrate", "--model", "mine"]) == 0
    assert main(["table", "--model", "mine", "--samples", "10"]) == 0
    assert main(["bundle", "--model", "mine", "--split", "2", "--out", "bundle", "--twin", form]) == 0
    bundle = load_bundle("bundle")  # readers that do not know twins take it
    twin = bundle.manifest["twin"]
    assert sorted(twin["graphs"]) == graphs
    assert [each["side"] for each in twin["exits"]] == ["device", "device", "device" if form == "head" else "host"]
    card = read_card(in_folder(folder / "twin"))
    assert twin["thresholds"] == {str(rad): point.threshold for rad, point in card.thresholds.items()}
    for name in graphs:
        onnx.load_from_string(bundle.read_file(twin["graphs"][name]["file"]))
    assert ("activation" in twin) is (form == "both")
    (folder / "twin" / FILE).write_text(
        (folder / "twin" / FILE).read_text().replace(in_folder(folder).sha256, "0" * 64)
    )
    assert main(["bundle", "--model", "mine", "--split", "2", "--out", "other", "--twin", form]) == 3


def test_a_bundle_with_a_twin_that_is_not_there_is_refused(folder, capsys):
    assert main(["calibrate", "--model", "mine"]) == 0
    assert main(["table", "--model", "mine", "--samples", "10"]) == 0
    assert main(["bundle", "--model", "mine", "--split", "2", "--out", "bundle", "--twin", "head"]) == 2
    assert "found no twin in mine/twin; expected one; make it with: defq harden --model mine" in capsys.readouterr().err


def test_a_run_that_is_finished_is_not_trained_again(harden, capsys):
    assert harden() == 0
    capsys.readouterr()
    assert harden() == 0
    assert "goes on after epoch 1 of 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--last-exit", "5"), "found exit 5 for the twin of mobilenet to end at; expected --last-exit from 2 to 4"),
        (("--clean", "0.5", "--slowed", "0.6"), "expected shares whose sum is at most 1"),
        (("--out", "mine"), "the folder of the model itself"),
        (("--out", "mine/weights.safetensors/x"), "could not write"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_work(harden, words, sentence, capsys):
    assert harden(*words) in (2, 3)
    assert sentence in capsys.readouterr().err


def test_the_twin_of_shipped_weights_does_not_go_to_models():
    files = shipped("mobilenet")
    twin = twin_files(files).weights.parent
    assert twin == destination(files).weights.parent / "twin"
    assert not twin.is_relative_to(files.weights.parent)
    assert twin_files(files, Path("here")).weights == Path("here/weights.safetensors")


@pytest.mark.parametrize(("gain", "expected"), [(0.0, False), (0.009, False), (0.02, True), (-0.1, False)])
def test_defq_goes_before_a_twin_that_is_better_for_it(gain, expected):
    rows = [
        TwinRow(attack, defence, 5, 0.7 + (gain if defence == "defq" else 0), 0.7)
        for attack in ("clean", "slow-down")
        for defence in ("none", "defq")
    ]
    label = [TwinRow("label", "defq", 5, 1, 1), TwinRow("label", "none", 5, 0, 0)]
    assert needs_defq([*rows, *label]) is expected
