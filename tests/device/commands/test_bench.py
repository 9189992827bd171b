"""defq bench: which conditions it measures, what its figures are net of, and what it refuses."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import time

import numpy as np
import pytest

from device.commands import bench
from device.commands.cli import main
from device.commands.compare import read_report
from device.loop.pipeline import Pipeline
from device.planning.costs import read_costs
from device.power.base import PowerSensor
from tests.device.conftest import DATA


@pytest.fixture
def framed_bundle(bundle_folder, frames):
    """The tiny bundle with its frames as the clean ones, and grey ones, of which none leaves, as the attacked."""
    stream = io.BytesIO()
    labels = np.zeros(len(frames), np.int64)
    np.savez(stream, clean=frames, attacked=np.full_like(frames, 128), labels=labels)
    content = stream.getvalue()
    with open(os.path.join(bundle_folder, "frames.npz"), "wb") as file:
        file.write(content)
    with open(os.path.join(bundle_folder, "manifest.json")) as file:
        manifest = json.load(file)
    manifest["frames"] = {"file": "frames.npz", "count": len(frames)}
    manifest["files"]["frames.npz"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    with open(os.path.join(bundle_folder, "manifest.json"), "w") as file:
        json.dump(manifest, file)
    return bundle_folder


@pytest.fixture
def framed_whole_bundle(framed_bundle, tmp_path):
    """As ``framed_bundle``, with all exits on the device."""
    folder = str(tmp_path / "whole")
    shutil.copytree(os.path.join(DATA, "whole_bundle"), folder)
    shutil.copy(os.path.join(framed_bundle, "frames.npz"), folder)
    with open(os.path.join(framed_bundle, "manifest.json")) as file:
        framed = json.load(file)
    with open(os.path.join(folder, "manifest.json")) as file:
        manifest = json.load(file)
    manifest["frames"], manifest["files"]["frames.npz"] = framed["frames"], framed["files"]["frames.npz"]
    with open(os.path.join(folder, "manifest.json"), "w") as file:
        json.dump(manifest, file)
    return folder


@pytest.fixture
def run(monkeypatch):
    class Never:
        def is_set(self):
            return False

        def wait(self, seconds):
            time.sleep(seconds)
            return False

    monkeypatch.setattr("device.commands.bench.stop_on_signals", Never)
    monkeypatch.setattr("device.commands.run.stop_on_signals", Never)
    return lambda *options: main(["bench", *options, "--threads", "1", "--engine", "onnxruntime"])


QUICK = ("--seconds", "0.2", "--warm-up", "0.05")


def test_every_condition_is_measured(run, framed_bundle, tmp_path, capsys):
    files = {kind: str(tmp_path / ("report." + kind)) for kind in ("json", "csv")}
    options = ("--power", "none", "--json", files["json"], "--csv", files["csv"])
    assert run("--bundle", framed_bundle, *QUICK, *options) == 0
    with open(files["json"]) as file:
        report = json.load(file)
    assert list(report["conditions"]) == ["clean", "clean + DefQ", "attacked", "attacked + DefQ"]
    for figures in report["conditions"].values():
        assert figures["frames"] == sum(figures["exit_histogram"])
        assert figures["frames"] >= 25
        assert figures["seconds"] >= 0.2
        assert figures["j_per_frame"] is None
        total = figures["stage_ms"]["total"]
        assert 0 < total["p50"] <= total["p90"] <= total["p99"]
    assert report["conditions"]["clean"]["exit_histogram"] != report["conditions"]["attacked"]["exit_histogram"]
    shown = capsys.readouterr().out
    assert "unavailable" in shown
    assert re.findall(r"\d\.\d{3,}", shown) == []
    with open(files["csv"]) as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["condition", *report["conditions"]]
    assert re.fullmatch(r"\d\.\d{3}", rows[1][rows[0].index("accuracy")])
    assert main(["bench", "--compare", files["json"], files["json"]]) == 0
    assert "1.00" in capsys.readouterr().out


def test_with_all_exits_on_the_device_the_costs_for_the_plan_are_measured(run, framed_whole_bundle, tmp_path, expected):
    name = str(tmp_path / "report.json")
    assert run("--bundle", framed_whole_bundle, *QUICK, "--power", "none", "--json", name) == 0
    costs = read_costs(read_report(name), name)
    assert len(costs.head_ms) == 5
    assert costs.values == [4 * 16 * 16, 6 * 8 * 8, 6 * 8 * 8, 6 * 8 * 8]
    assert costs.leaving[5]["clean"].shares == pytest.approx(np.bincount(expected["exit"] - 1, minlength=5) / 60)
    assert costs.coefficients.bytes > 100
    assert main(["plan", "--bench", name, "--link", "10", "--rtt", "25"]) == 0
    assert main(["bench", "--compare", name, name]) == 0


def test_a_bundle_with_a_gate_has_gated_rows(run, framed_bundle, write_gate, tmp_path):
    write_gate(framed_bundle, {"level": 0, "thresholds": {"5": 0, "10": 1}, "table": [[30] * 8] * 8})
    name = str(tmp_path / "report.json")
    assert run("--bundle", framed_bundle, "--seconds", "0.1", "--warm-up", "0", "--power", "none", "--json", name) == 0
    with open(name) as file:
        conditions = json.load(file)["conditions"]
    assert list(conditions) == [
        "clean", "clean + DefQ", "clean + gated DefQ", "attacked", "attacked + DefQ", "attacked + gated DefQ",
    ]  # fmt: skip
    for kind in ("clean", "attacked"):  # every frame is found, and leaves at a threshold of 0
        assert conditions[kind + " + gated DefQ"]["sources"]["edge"] == conditions[kind + " + gated DefQ"]["frames"]


def test_a_window_is_one_run(run, framed_bundle, monkeypatch):
    """A window is not divided into several runs: each run waits for its last answers, which would change what is measured."""
    runs, frames = [], []

    def counted(self, camera, limit=None, stop=None, run=Pipeline.run):
        runs.append(camera)
        frames.append(run(self, camera, limit, stop).to_dict()["frames"])

    monkeypatch.setattr(Pipeline, "run", counted)
    assert run("--bundle", framed_bundle, *QUICK, "--power", "none") == 0
    assert len(runs) == len(set(map(id, runs))) == 8  # a warm-up and a window of each condition
    assert min(frames) > 0


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_figures_on_stdout_stand_there_alone(run, framed_bundle, capsys, option):
    assert run("--bundle", framed_bundle, *QUICK, "--power", "none", option, "-") == 0
    out, err = capsys.readouterr()
    if option == "--json":
        assert next(iter(json.loads(out)["conditions"])) == "clean"
    else:
        assert next(csv.reader(out.splitlines()))[0] == "condition"
    assert "energy: unavailable" in err


class Steady(PowerSensor):
    """Two watts, always."""

    name, scope, kind, interval_s = "INA0000", "board", "measured", 0.01

    def read_mw(self):
        return 2000.0


def test_energy_is_net_of_idle(run, framed_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("device.commands.bench.open_sensor", lambda text: Steady())
    name = str(tmp_path / "report.json")
    assert run("--bundle", framed_bundle, *QUICK, "--json", name) == 0
    with open(name) as file:
        report = json.load(file)
    assert report["idle_w"] == pytest.approx(2.0)
    for figures in report["conditions"].values():
        assert figures["mean_w"] == pytest.approx(2.0)
        assert figures["energy_samples"] >= 2
        assert abs(figures["j_per_frame"]) < 1e-6  # nothing beyond idle
    assert "energy measured by INA0000 (board), net of 2.00 W idle" in capsys.readouterr().out


def test_energy_of_a_frame():
    assert bench.net_j(30.0, 2.0, 10.0, 100) == pytest.approx(0.1)
    assert bench.net_j(None, 2.0, 10.0, 100) is None
    assert bench.net_j(30.0, None, 10.0, 100) is None


def test_a_given_rate_is_kept(run, framed_bundle, tmp_path):
    name = str(tmp_path / "report.json")
    assert run("--bundle", framed_bundle, "--seconds", "0.5", "--warm-up", "0", "--rate", "50", "--power", "none",
               "--json", name) == 0  # fmt: skip
    with open(name) as file:
        figures = json.load(file)["conditions"]["clean"]
    assert figures["frames_per_s"] == pytest.approx(50, rel=0.2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--seconds", "nan"), "found --seconds nan"),
        (("--warm-up", "-1"), "found --warm-up -1"),
        (("--rate", "0"), "found --rate 0"),
        (("--power", "sun"), "found --power sun"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_options_that_cannot_work(run, framed_bundle, capsys, options, sentence):
    assert run("--bundle", framed_bundle, *options) == 2
    assert sentence in capsys.readouterr().err


def test_it_needs_a_bundle_with_frames(run, bundle_folder, capsys):
    assert run("--power", "none") == 2
    assert "found no --bundle" in capsys.readouterr().err
    assert run("--bundle", bundle_folder, "--power", "none") == 2
    assert "found no frame set" in capsys.readouterr().err


def test_the_frame_set_as_a_source(run, framed_bundle, tmp_path, capsys):
    def lines(source, *options):
        out = str(tmp_path / (source.partition("?")[0].replace(":", "-") + ".jsonl"))
        assert (
            main(["run", "--bundle", framed_bundle, "--source", source, "--jsonl", out, "--defq", "off", *options]) == 0
        )
        with open(out) as file:
            return [json.loads(line) for line in file]

    clean, attacked = lines("bundle:clean"), lines("bundle:attacked?loop=1", "--frames", "70")
    assert (len(clean), len(attacked)) == (60, 70)
    assert {line["exit"] for line in clean} != {line["exit"] for line in attacked}
    for source in ("bundle:other", "bundle:clean?loop=7", "bundle:clean?rate=x"):
        assert main(["run", "--bundle", framed_bundle, "--source", source]) == 2
    assert main(["run", "--bundle", framed_bundle, "--source", "bundle:clean", "--defq", "auto"]) == 2
    assert "found no monitor" in capsys.readouterr().err
