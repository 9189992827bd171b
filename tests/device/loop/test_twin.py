"""The loop while the hardened twin answers, and while the controller goes up and down the ladder."""

import json

import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.bundle.twin import read_twin
from device.commands import cli
from device.defence.controller import Controller, HardenedTwin
from device.defence.ladder import DEFQ, PEACE, TWIN
from device.defence.monitor import ExitShares
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.engines.sleeping import SleepingEngine
from device.link.host_client import HostClient
from device.loop.pipeline import Pipeline
from tests.device.loop.fakes import KeptSink, ListCamera

SHARES = ExitShares(
    *(np.array(each) for each in ([0.5, 0.4, 0.1], [0.05, 0.15, 0.8], [0.5, 0.4, 0.1], [0.4, 0.3, 0.3]))
)


class AnyRung:
    """A ladder whose rung changes at random between two frames."""

    def __init__(self):
        self.rung, self._random = PEACE, np.random.RandomState(0)

    def see(self, rung, exit_, quantised, twin_ready):
        assert twin_ready
        self.rung = int(self._random.choice([PEACE, DEFQ] if rung == PEACE else [PEACE, DEFQ, TWIN]))
        return self.rung != rung


class NoMonitor:
    attacked, learning, alarms = False, False, 0

    def see(self, exit_, quantised):
        return False

    def settle(self):
        pass


def test_no_frame_is_lost_or_doubled_while_the_rung_changes(twin_folder, frames, fake_host, capfd):
    bundle = load_bundle(twin_folder)._replace(monitor={5: SHARES, 10: SHARES})
    found = read_twin(bundle)
    twin = HardenedTwin(found, SleepingEngine(found.bundle, lambda: OnnxRuntimeEngine(found.bundle, 1)))
    twin.head.wait()
    controller = Controller(bundle, 5, "auto", NoMonitor(), twin=twin)
    controller.ladder = AnyRung()
    host, sink, many = HostClient(fake_host.url, bundle, 0.62), KeptSink(), np.concatenate([frames] * 20)
    engine = OnnxRuntimeEngine(bundle, 1)
    summary = Pipeline(bundle, engine, controller, host, sink).run(ListCamera(many)).to_dict()
    host.close()
    twin.head.close()
    assert [each.index for each in sink.decisions] == list(range(len(many)))
    by_twin = [each for each in sink.decisions if each.twin]
    assert 200 < len(by_twin) == summary["twin_frames"] < 500
    assert {(each.source, each.quantised) for each in by_twin} == {("edge", True)}
    assert {each.source for each in sink.decisions if not each.twin} == {"edge", "host"}
    assert "the hardened twin answers" in capfd.readouterr().err


@pytest.mark.parametrize(("mode", "twins"), [("twin", 60), ("off", 0)])
def test_the_command(twin_folder, frames_file, tmp_path, mode, twins):
    out, figures = tmp_path / "out.jsonl", tmp_path / "summary.json"
    options = ["--bundle", twin_folder, "--source", "npz:" + frames_file, "--defq", mode, "--engine", "onnxruntime"]
    assert cli.main(["run", *options, "--jsonl", str(out), "--summary", str(figures)]) == 0
    decisions = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(decisions) == 60
    assert sum(each.get("twin", False) for each in decisions) == twins
    assert json.loads(figures.read_text()).get("twin_frames", 0) == twins
    if twins:
        assert {each["source"] for each in decisions} == {"edge"}


def test_a_bundle_without_a_twin_is_one_sentence(bundle_folder, frames_file, capsys):
    options = ["--bundle", bundle_folder, "--source", "npz:" + frames_file, "--defq", "twin"]
    assert cli.main(["run", *options]) == 2
    assert "found no hardened twin in bundle" in capsys.readouterr().err
