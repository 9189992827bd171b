"""A model that comes with the package under a name of its own, such as signs: every command finds it."""

import json
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from device.bundle.reader import load_bundle
from device.commands.defq import main as defq
from device.errors import DataError
from export.attacks.linf import DeepSlothLinf
from export.calibration import attacked_images
from export.calibration import monitor as monitor_shares
from export.calibration import search as table_search
from export.calibration.card import read_card
from export.commands import attack as attack_command
from export.commands import cli, demo
from export.commands import table as table_command
from export.data import datasets
from export.data import shipped as package
from export.data.images import Dataset, Images
from export.evaluation.demo_report import DemoCondition, Latency
from export.networks import mobilenet, model_files
from export.networks.find import model_names, network_names
from export.networks.loading import load_network, planned
from export.networks.model_files import family_of, find, made_here, shipped
from export.networks.model_folder import described, write_description
from export.networks.weights import save_network
from tests import tiny

QUICK = {"linf": DeepSlothLinf(iterations=2), "l2": DeepSlothLinf(iterations=1)}
NAME = "signs"


DATA = Images(tiny.frames(60), np.arange(60) % 3)


def patched(patch, root):
    """The commands on the tiny network under the name of a real one, with shipped models in ``root``."""
    patch.setattr(package, "MODELS", root / "models")
    patch.setattr(package, "TABLES", root / "tables")
    patch.setenv("DEFQ_ATTACKS", str(root / "attacks"))
    patch.setattr(mobilenet, "SPEC", tiny.SPEC)
    patch.setattr(model_files, "MADE_HERE", root / "made")
    data = Dataset(DATA, DATA, DATA, tuple(tiny.CLASSES), "made up", fit="crop")
    patch.setattr(datasets, "load", lambda *_, **__: data)
    for module in (table_command, attacked_images, monitor_shares):
        patch.setattr(module, "PER_SAMPLE", QUICK)
    for module in (attack_command, demo):
        patch.setattr(module, "DeepSlothLinf", lambda: QUICK["linf"])
    patch.setattr(table_search, "FACTORS", ())
    return data


def run(command, *options):
    data = [] if command in ("bundle", "demo") else ["--data", "photographs"]
    assert cli.main([command, "--model", NAME, *data, *map(str, options)]) == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folders models/ and tables/ with the tiny network with exits 1, 2 and 4 under the name ``signs``."""
    root = tmp_path_factory.mktemp("shipped")
    for name in ("models", "tables"):
        (root / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        data = patched(patch, root)
        patch.chdir(root)
        files = shipped(NAME)
        save_network(tiny.network(), files.weights, classes=tiny.CLASSES)
        write_description(described(planned("mobilenet", None, "crop", (1, 2, 4)), data), files.described_in)
        for command in (["calibrate"], ["table", "--samples", "20"], ["monitor"]):
            run(*command)
        written = made_here(NAME)
        shutil.move(written.card, files.card)
        shutil.move(written.table, files.table)
    return root


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    root = tmp_path / "shipped"
    for name in ("models", "tables"):
        shutil.copytree(made / name, root / name)
    patched(monkeypatch, root)
    monkeypatch.chdir(tmp_path)
    return root


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_it_is_a_model_but_no_network(root):
    assert NAME in model_names()
    assert NAME not in network_names()
    assert family_of(NAME) == "mobilenet"
    assert names(package.MODELS) == ["signs.json", "signs.model.json", "signs.safetensors"]


def test_its_description_is_beside_it(root):
    files = find(NAME)
    assert files == shipped(NAME)
    assert files.description.told() == "mobilenet for 16 x 16 pixels with exits 1, 2, 4"
    assert files.description.fit == "crop"
    assert read_card(files).model == NAME
    assert len(read_card(files).relative_costs) == 4
    assert load_network(files).exit_numbers == (1, 2, 4)
    assert files.option == "--model signs"


def test_every_command_takes_it_and_leaves_it_as_it_was(root, tmp_path, capsys):
    before = {file: file.read_bytes() for folder in (package.MODELS, package.TABLES) for file in folder.iterdir()}
    run("calibrate")
    assert "signs.safetensors" in capsys.readouterr().out
    run("search")
    run("evaluate", "--defenses", "none,defq", "--images", 10)
    run("evaluate", "--defenses", "defq", "--images", 10, "--tables-of", NAME)
    run("attack", "--out", tmp_path / "frames", "--images", 10)
    run("bundle", "--out", tmp_path / "bundle", "--split", 2, "--frames", 20)
    bundle = load_bundle(str(tmp_path / "bundle"))
    assert bundle.model == NAME
    assert bundle.id.startswith("signs-split2-")
    assert bundle.fit == "crop"
    assert bundle.labels == tiny.CLASSES
    assert names(made_here(NAME).weights.parent) == ["card.json", "card.md", "table.json"]
    assert before == {file: file.read_bytes() for file in before}


def test_it_can_be_trained_anew_as_it_was(root, capsys):
    run("train", "--epochs", 1, "--batch", 20, "--peak-rate", 0.001)
    assert f"defq table --model {NAME}\n" in capsys.readouterr().out
    made = find(NAME)
    assert made == made_here(NAME)
    assert made.description.exits == (1, 2, 4)
    assert made.description.family == "mobilenet"
    assert read_card(made).model == NAME
    before = torch.cat([each.flatten() for each in load_network(shipped(NAME)).parameters()])
    assert not torch.equal(torch.cat([each.flatten() for each in load_network(made).parameters()]), before)


def test_weights_in_another_place(root, tmp_path):
    for suffix in (".safetensors", ".json", ".model.json"):
        shutil.copy(package.MODELS / f"signs{suffix}", tmp_path / f"own{suffix}")
    files = find(NAME, tmp_path / "own.safetensors")
    assert files.description.exits == (1, 2, 4)
    assert read_card(files).model == NAME


def test_without_its_description_it_is_one_sentence(root):
    shipped(NAME).described_in.unlink()
    with pytest.raises(DataError, match=r"could not read .*signs.model.json"):
        load_network(shipped(NAME))


def test_the_help_names_it(root, capsys):
    with pytest.raises(SystemExit):
        cli.main(["bundle", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "mobilenet, resnet56, signs, vgg16" in said


def test_the_demo_takes_it(root, tmp_path, monkeypatch):
    ran = DemoCondition(10, 0.0, 0.0, 0.0, Latency(1.0, 1.0, 1.0), 10, 100, (0, 0, 0, 10), 0.0)
    monkeypatch.setattr(demo, "run_device", lambda *_: ran)
    monkeypatch.setattr(demo, "exit_histograms", lambda *_: None)
    monkeypatch.setattr(demo, "host_process", lambda *_: nullcontext("http://127.0.0.1:1"))
    run("demo", "--frames", 10, "--out", tmp_path / "demo")
    assert json.loads((tmp_path / "demo" / "report.json").read_text())["model"] == NAME


def test_its_data_are_not_those_of_cifar_10(root, monkeypatch, capsys):
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setattr(datasets, "load", lambda *_, **__: pytest.fail("read or downloaded CIFAR-10"))
    assert cli.main(["calibrate", "--model", NAME]) == 3
    said = capsys.readouterr().err
    assert said.startswith(
        "error: found no --data for signs, whose classes are not those of CIFAR-10 (circle, square, star);"
    )
    found = demo.demo_frames(shipped(NAME), load_network(shipped(NAME)), 2, None)  # of the virtual camera
    assert len(found.pixels) == 2
    assert found.measure == "agreement"


def test_defq_finds_it_too(root, tmp_path):
    assert defq(["bundle", "--model", NAME, "--out", str(tmp_path / "b")]) == 0
