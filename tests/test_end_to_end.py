"""Real processes over loopback, with the committed networks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from device.bundle.reader import load_bundle
from export.bundle.comparison_frames import comparison_frames
from export.bundle.settings import BundleSettings
from export.bundle.writer import export_bundle
from export.calibration.cost import early_exit, score
from export.commands.demo import CONDITIONS, host_process, run_demo
from export.data.frames import write_frames
from export.data.shipped import shipped_names
from export.networks.loading import load_network
from export.networks.model_files import shipped
from export.onnx.parity import tied

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("vgg16", "resnet56", "mobilenet")
needs_signs = pytest.mark.skipif(
    "signs" not in shipped_names(), reason="the model signs does not come with this checkout"
)


@pytest.mark.parametrize("model", MODELS)
def test_device_and_host_processes_decide_as_pytorch_does(model, no_data, tmp_path):
    decides_as_pytorch_does(model, "synthetic frames", tmp_path)


@pytest.mark.parametrize("model", MODELS)
def test_device_and_host_processes_decide_as_pytorch_does_on_test_images(model, cifar10, tmp_path):
    decides_as_pytorch_does(model, "test images", tmp_path)


def decides_as_pytorch_does(model, origin, tmp_path):
    bundle = load_bundle(str(export_bundle(model, tmp_path / "bundle", BundleSettings())))
    frames, found_origin = comparison_frames(None, (32, 32), 60)
    assert found_origin == origin
    scores = score(load_network(shipped(model)), frames)
    exits, labels = early_exit(scores, bundle.threshold(5))
    write_frames(tmp_path / "frames.npz", frames, labels)
    with host_process(tmp_path / "bundle") as url:
        done = subprocess.run(
            [
                sys.executable, "-m", "device", "run", "--bundle", str(tmp_path / "bundle"), "--host", url, "--require-host",
                "--source", f"npz:{tmp_path / 'frames.npz'}", "--defq", "off", "--payload", "fp32", "--jsonl", "-", "--timeout-ms", "20000",
            ],
            cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["index"] for line in lines] == list(range(60))
    for line, exit_, label, tie in zip(lines, exits, labels, tied(scores, exits, bundle.threshold(5)), strict=True):
        assert tie or (line["exit"], line["label_id"]) == (exit_ + 1, label)
    for line in lines:
        assert line["source"] == ("edge" if line["exit"] <= bundle.split else "host")
        assert (line["bytes_sent"] > 0) == (line["source"] == "host")


def test_demo_tells_the_story(no_data, tmp_path):
    assert tells_the_story(tmp_path / "demo")["source"].startswith("photos: ")


def test_demo_tells_the_story_on_test_images(cifar10, tmp_path):
    assert tells_the_story(tmp_path / "demo")["source"] == "CIFAR-10 test images"


def tells_the_story(out):
    assert run_demo(shipped("mobilenet"), 40, out, None) == 0
    report = json.loads((out / "report.json").read_text())
    assert (report["model"], report["split"]) == ("mobilenet", 3)
    assert list(report["conditions"]) == list(CONDITIONS)
    measure = "accuracy" if report["source"].startswith("CIFAR-10") else "agreement"
    for figures in report["conditions"].values():
        assert set(figures) == {
            "frames", "edge_exit_ratio", "t3_er", "efcy", measure, "latency_ms", "frames_to_host", "bytes_to_host", "exit_histogram",
        }  # fmt: skip
        assert figures["frames"] == sum(figures["exit_histogram"]) == 40
        assert set(figures["latency_ms"]) == {"mean", "p50", "p99"}
        assert figures["frames_to_host"] == 40 - sum(figures["exit_histogram"][:3])
    clean, attacked, defended = (report["conditions"][name] for name in ("clean", "attacked", "attacked_defq"))
    assert attacked["efcy"] < 0.2 < clean["efcy"]
    assert attacked["efcy"] + 0.1 < defended["efcy"]
    assert attacked["frames_to_host"] > clean["frames_to_host"]
    gated = report["conditions"]["attacked_gated"]
    assert gated["efcy"] > defended["efcy"]
    assert report["conditions"]["clean_gated"]["efcy"] > clean["efcy"] - 0.1
    assert (out / "exit_histograms.png").stat().st_size > 10000
    return report


@needs_signs
def test_demo_of_a_network_at_camera_resolution_needs_no_data(no_data, tmp_path):
    report = demo_of_signs(tmp_path / "demo", 12)
    assert report["source"].startswith("photos: ")
    assert "agreement" in report["conditions"]["clean"]


@needs_signs
def test_demo_of_hand_signs_tells_the_story(signs, tmp_path):
    report = demo_of_signs(tmp_path / "demo", 40)
    assert report["source"] == "signs test images"
    clean, attacked, defended = (report["conditions"][name] for name in ("clean", "attacked", "attacked_defq"))
    assert clean["accuracy"] >= 0.85
    assert attacked["efcy"] + 0.1 < defended["efcy"] <= clean["efcy"] + 0.05


def demo_of_signs(out, frames):
    assert run_demo(shipped("signs"), frames, out, None) == 0
    report = json.loads((out / "report.json").read_text())
    assert (report["model"], report["rad"]) == ("signs", 5)
    assert all(figures["frames"] == frames for figures in report["conditions"].values())
    assert list(report["conditions"]) == [each for each in CONDITIONS if each in report["conditions"]]
    return report


@pytest.mark.parametrize("model", MODELS)
def test_committed_networks_reach_their_accuracy(model, cifar10):
    images = cifar10.test.take(1000)
    accuracy = (score(load_network(shipped(model)), images.pixels).classes[-1] == images.labels).mean()
    assert accuracy >= {"vgg16": 0.88, "resnet56": 0.85, "mobilenet": 0.85}[model]
