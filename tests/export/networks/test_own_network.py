"""The example of docs/: a network of one's own becomes a bundle that the device runs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.commands import cli, run
from export.data.frames import write_frames

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "bundle"
    command = [sys.executable, "docs/own_network.py", str(folder)]
    return folder, subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def frames(count):
    """Images like those that the example trains on, and their classes: the same five colours, other noise."""
    generator = np.random.default_rng(0)
    generator.integers(0, 5, 60)
    colours = generator.integers(60, 200, (5, 1, 1, 3))
    labels = np.arange(count) % 5
    noise = np.random.default_rng(1).normal(0, 40, (count, 64, 64, 3))
    return np.clip(colours[labels] + noise, 0, 255).astype(np.uint8), labels


def test_it_says_what_it_wrote(made):
    folder, result = made
    assert result.returncode == 0, result.stderr
    assert f"wrote parts-split2-{load_bundle(str(folder)).id[-8:]} to {folder}" in result.stdout
    assert (
        "it holds from_coefficients.onnx, from_uint8.onnx, head.onnx, head_flat.onnx, labels.txt, manifest.json, table.json, tail.onnx"
        in result.stdout
    )


def test_the_bundle_is_of_the_network(made):
    bundle = load_bundle(str(made[0]))
    assert bundle.labels == ["bolt", "gear", "nut", "screw", "spring"]
    assert bundle.input_shape == (3, 64, 64)
    assert bundle.activation_shape == (16, 16, 16)
    assert len(bundle.relative_costs) == 4
    assert 0 <= bundle.threshold(10) <= bundle.threshold(5) <= 1


@pytest.mark.parametrize("defq", ["on", "off"])
def test_the_device_decides_with_it(made, tmp_path, monkeypatch, defq):
    monkeypatch.setattr(run, "stop_on_signals", lambda: None)  # pytest's own handlers should survive
    pixels, labels = frames(20)
    write_frames(tmp_path / "frames.npz", pixels, labels)
    source, out = f"npz:{tmp_path / 'frames.npz'}", tmp_path / "out.jsonl"
    options = ["--bundle", str(made[0]), "--source", source, "--threads", "1", "--defq", defq, "--jsonl", str(out)]
    assert cli.main(["run", *options]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(20))
    assert {line["exit"] for line in lines} <= {1, 2}
    assert {line["source"] for line in lines} <= {"edge", "fallback"}
    assert any(line["source"] == "edge" for line in lines)
    assert all(line["label"] == load_bundle(str(made[0])).labels[line["label_id"]] for line in lines)
    assert np.mean([line["label_id"] == line["truth"] for line in lines]) > 0.5  # chance is 0.2
