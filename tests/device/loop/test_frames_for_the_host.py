"""What becomes of frames that stay: the host answers them, in the order of frames, or does not."""

import json
import time

import numpy as np
import pytest

from device.defence.gate import Gate, GateStage, noise_level
from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.link.host_client import HostClient
from device.loop.sinks import to_line
from tests.device.loop.fakes import KeptSink, ListCamera, RecordingEngine, make_pipeline


@pytest.fixture
def run(bundle):
    """Decisions and figures of the frames of a camera, with a real head and a host at a URL."""
    opened = []

    def go(camera, url, mode="off", gate=None, **options):
        host = HostClient(url, bundle, 0.62, **options)
        opened.append(host)
        sink = KeptSink()
        pipeline = make_pipeline(bundle._replace(gate=gate), OnnxRuntimeEngine(bundle, 1), mode, sink, host)
        summary = pipeline.run(camera)
        return sink.decisions, summary.to_dict()

    yield go
    for host in opened:
        host.close()


@pytest.mark.parametrize("connections", [1, 4])
def test_host_answers_in_frame_order(run, fake_host, frames, expected, connections):
    decisions, figures = run(ListCamera(frames), fake_host.url, connections=connections)
    assert [decision.index for decision in decisions] == list(range(60))
    assert figures["sources"] == {"edge": 41, "host": 19, "fallback": 0}
    assert figures["frames_to_host"] == 19 == fake_host.requests
    assert figures["bytes_to_host"] == sum(decision.bytes_sent for decision in decisions)
    host = [decision for decision in decisions if decision.source == "host"]
    assert {(decision.label_id, decision.exit) for decision in host} == {(2, 4)}
    assert all(decision.ms["total"] >= decision.ms["host"] > 0 for decision in host)


@pytest.mark.parametrize("payload", ["fp32", "uint8", "coefficients"])
def test_decisions_and_summary_tell_the_payload(run, fake_host, frames, payload):
    fake_host.forms = ["coefficients", "uint8", "fp32"]
    decisions, figures = run(ListCamera(frames), fake_host.url, mode="on", payload=payload)
    sent = [decision for decision in decisions if decision.source == "host"]
    assert {decision.payload for decision in sent} == {payload}
    assert {decision.payload for decision in decisions if decision.source == "edge"} == {None}
    assert json.loads(to_line(sent[0]))["payload"] == payload
    assert figures["payloads"] == {payload: {"frames": len(sent), "bytes": figures["bytes_to_host"]}}
    assert set(fake_host.received) == {payload}


def test_the_gate_sends_coefficients_of_the_table_of_each_frame(run, fake_host, frames):
    fake_host.forms = ["coefficients", "uint8", "fp32"]
    weak = GateStage(0.0, {5: 2.0}, np.full((8, 8), 25, np.float32))
    middle = float(np.median([noise_level(frame) for frame in frames]))
    strong = GateStage(middle, {5: 2.0}, np.full((8, 8), 40, np.float32))
    gate, blind = Gate([strong, weak]), Gate([strong._replace(level=1e9)])
    run(ListCamera(frames), fake_host.url, mode="gated", gate=gate, payload="coefficients")
    assert fake_host.received == ["coefficients"] * 60
    assert {steps[0] for steps in fake_host.steps} == {25, 40}
    run(ListCamera(frames), fake_host.url, mode="gated", gate=blind, payload="coefficients")
    assert set(fake_host.received[60:]) == {"uint8"}  # frames that the gate lets pass are not quantised


def test_host_that_dies_mid_run_loses_no_frame(run, fake_host, frames):
    class Dying(ListCamera):
        def read(self):
            if len(self.left) == 30:
                fake_host.stop()
            return super().read()

    decisions, figures = run(Dying(frames), fake_host.url, connections=2)
    assert [decision.index for decision in decisions] == list(range(60))
    assert figures["sources"]["fallback"] > 0
    assert figures["sources"]["host"] > 0
    assert sum(figures["sources"].values()) == 60


def test_live_frames_never_wait_for_a_silent_host(run, fake_host, frames):
    fake_host.mode = "silent"
    started = time.perf_counter()
    decisions, figures = run(ListCamera(frames, live=True), fake_host.url, connections=1, timeout_s=0.5)
    assert time.perf_counter() - started < 3
    assert [decision.index for decision in decisions] == list(range(60))
    assert figures["sources"] == {"edge": 41, "host": 0, "fallback": 19}


@pytest.mark.parametrize("connections", [1, 4])
def test_lower_threshold_goes_on_to_the_host(gated_bundle, fake_host, clean_and_noisy, connections):
    host, sink = HostClient(fake_host.url, gated_bundle, 0.62, connections), KeptSink()
    frames = [*clean_and_noisy, clean_and_noisy[1]]
    make_pipeline(gated_bundle, RecordingEngine(gated_bundle), "gated", sink, host).run(ListCamera(frames))
    host.close()
    normal, lower = [[pytest.approx(0.62)]], [[0.5]]
    got = fake_host.thresholds if connections == 1 else sorted(fake_host.thresholds, reverse=True)
    assert got == [normal, lower, lower]
    assert [(decision.source, decision.attacked) for decision in sink.decisions] == [
        ("host", False), ("host", True), ("host", True)
    ]  # fmt: skip
