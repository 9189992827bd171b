"""What a session opens it closes, whatever happens in between."""

import os
import signal

import pytest

from device.commands import cli, session
from device.engines.base import Engine
from device.engines.onnx_runtime import OnnxRuntimeEngine, OnnxRuntimeGpuEngine
from device.engines.open import open_engine, probe_engines
from device.engines.tensorrt import TensorRtEngine
from device.errors import EngineError


@pytest.fixture
def closed(monkeypatch):
    """The engines that were closed, and pytest's own signal handlers as they were."""
    names, close = [], OnnxRuntimeEngine.close

    def told(self):
        names.append(self.name)
        close(self)

    monkeypatch.setattr(OnnxRuntimeEngine, "close", told)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield names
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("words", "code"), [
    (("--frames", "2"), 0),
    (("--frames", "2", "--jsonl", "/nowhere/out.jsonl"), 3),
    (("--frames", "2", "--summary", "/nowhere/s.json"), 3),
    (("--defq", "gated"), 2),
    (("--monitor",), 2),
])  # fmt: skip
def test_run_closes_its_engine(bundle_folder, frames_file, closed, words, code):
    options = ["--bundle", bundle_folder, "--source", "npz:" + frames_file, "--engine", "onnxruntime", *words]
    assert cli.main(["run", *options]) == code
    assert len(closed) == 1


def test_no_engine_is_started_for_a_host_that_is_required_and_absent(
    bundle_folder, frames_file, closed, monkeypatch, fake_host
):
    fake_host.stop()
    monkeypatch.setattr(session, "open_engine", lambda *_: pytest.fail("an engine was started"))
    options = ["--bundle", bundle_folder, "--source", "npz:" + frames_file, "--host", fake_host.url, "--require-host"]
    assert cli.main(["run", *options]) == 5


def test_the_host_client_is_closed_where_the_host_cannot_be_used(bundle_folder, frames_file, monkeypatch, fake_host):
    ended = []
    close = session.HostClient.close
    monkeypatch.setattr(session.HostClient, "close", lambda self: ended.append(self.url) or close(self))
    options = ["--bundle", bundle_folder, "--source", "npz:" + frames_file, "--host", fake_host.url, "--require-host"]
    fake_host.mode = "wrong_model"
    assert cli.main(["run", *options]) == 3
    fake_host.stop()
    assert cli.main(["run", *options]) == 5
    assert ended == [fake_host.url] * 2


def test_jpeg_closes_its_engine(bundle_folder, frames_file, tmp_path, closed):
    options = ["--bundle", bundle_folder, "--source", "npz:" + frames_file, "--engine", "onnxruntime", "--frames", "1"]
    assert cli.main(["jpeg", *options, "--out", str(tmp_path / "out")]) == 0
    assert cli.main(["jpeg", *options, "--out", str(tmp_path / "out")]) == 3  # there are frames already
    assert len(closed) == 2


def test_an_engine_that_is_closed_says_so(bundle, frames):
    engine = open_engine(bundle, "onnxruntime")
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="found a frame for an engine that was closed"):
        engine.run(frames[:1], 0.5)


def test_every_engine_gives_back_what_it_holds():
    for each in (OnnxRuntimeEngine, OnnxRuntimeGpuEngine, TensorRtEngine):
        assert each.close is not Engine.close


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
def test_probing_closes_what_it_opened(bundle, closed):
    probe_engines(bundle)
    assert len(closed) == 1
