"""A network is one file: the example of docs/ goes from a folder of images to decisions of the device."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import export.networks
from device.bundle.reader import load_bundle
from device.commands import cli as device_cli
from device.commands import run as device_run
from export.attacks.linf import DeepSlothLinf
from export.commands import cli
from export.commands import table as table_command
from export.data.frames import write_frames
from export.networks import model_files
from export.networks.find import network_names, network_spec

ROOT = Path(__file__).resolve().parents[3]
CLASSES = ["bolt", "gear", "nut", "screw", "spring"]


def images(count, seed):
    """Images of five colours with noise, uint8 (n, 70, 64, 3), and their classes: they are not of the network's size."""
    labels = np.arange(count) % 5
    colours = np.random.default_rng(0).integers(60, 200, (5, 1, 1, 3))
    noise = np.random.default_rng(seed).normal(0, 30, (count, 70, 64, 3))
    return np.clip(colours[labels] + noise, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The bundle of the example and what the commands printed. Nothing but the one file is added to the export."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "networks").mkdir()
    shutil.copy(ROOT / "docs" / "own_network.py", folder / "networks")
    for index, (pixels, label) in enumerate(zip(*images(100, 1), strict=True)):
        (folder / "photographs" / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "photographs" / CLASSES[label] / f"{index:03}.png"), pixels[:, :, ::-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(export.networks, "__path__", [*export.networks.__path__, str(folder / "networks")])
        patch.setattr(model_files, "MADE_HERE", folder / "models")
        patch.setattr(table_command, "PER_SAMPLE", {"linf": DeepSlothLinf(iterations=3)})
        data = ["--model", "own_network", "--data", "photographs"]
        importlib.invalidate_caches()
        names = network_names()
        spec = network_spec("own_network")
        assert cli.main(["train", *data, "--epochs", "30", "--batch", "40", "--peak-rate", "0.05"]) == 0
        assert cli.main(["calibrate", *data]) == 0
        assert cli.main(["table", *data, "--samples", "10"]) == 0
        assert cli.main(["bundle", *data, "--split", "2", "--out", "bundle"]) == 0
    yield load_bundle(str(folder / "bundle")), names, spec
    sys.modules.pop("export.networks.own_network")


def test_it_is_a_network_like_the_others(made):
    _, names, spec = made
    assert "own_network" in names
    assert spec.network(7).input_shape == (3, *spec.input_size)
    assert len(spec.network(7).ics) + 1 == spec.exits


def test_the_bundle_is_of_the_network(made):
    bundle = made[0]
    assert bundle.model == "own_network"
    assert bundle.labels == CLASSES
    assert bundle.input_shape == (3, 64, 64)
    assert bundle.activation_shape == (16, 16, 16)
    assert len(bundle.relative_costs) == 4
    assert 0 <= bundle.threshold(10) <= bundle.threshold(5) <= 1


@pytest.mark.parametrize("defq", ["on", "off"])
def test_the_device_decides_with_it(made, tmp_path, monkeypatch, defq):
    monkeypatch.setattr(device_run, "stop_on_signals", lambda: None)  # pytest's own handlers should survive
    bundle = made[0]
    pixels, labels = images(20, 2)
    write_frames(tmp_path / "frames.npz", pixels, labels)
    source, out = f"npz:{tmp_path / 'frames.npz'}", tmp_path / "out.jsonl"
    options = ["--bundle", bundle.path, "--source", source, "--threads", "1", "--defq", defq, "--jsonl", str(out)]
    assert device_cli.main(["run", *options]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(20))
    assert {line["exit"] for line in lines} <= {1, 2}
    assert {line["source"] for line in lines} <= {"edge", "fallback"}
    assert all(line["label"] == CLASSES[line["label_id"]] for line in lines)
    assert np.mean([line["label_id"] == line["truth"] for line in lines]) > 0.5  # chance is 0.2
