"""Fixtures for tests against others' software. What is not installed here is skipped, with the reason."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from device.bundle.reader import Bundle, load_bundle
from device.defence.undefended import Undefended
from device.engines.onnx_runtime import OnnxRuntimeEngine
from tests.host.conftest import BUNDLE, ROOT, HostProcess

INSTALL = "pip install -r tests/interop/requirements.txt, in an environment of its own"


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return load_bundle(str(BUNDLE))


@pytest.fixture(scope="session")
def expected():
    """PyTorch's exit, label and confidence of the committed frames."""
    return np.load(BUNDLE.parent / "expected.npz")


@pytest.fixture(scope="session")
def sent(bundle):
    """The indices of the committed frames that do not leave on the device, and their activations."""
    engine, defence = OnnxRuntimeEngine(bundle, 1), Undefended(bundle, bundle.default_rad)
    frames = np.load(BUNDLE.parent / "frames.npz")["frames"]
    heads = [engine.run(defence.treat(frame).image, 0.62) for frame in frames]
    stay = [index for index, head in enumerate(heads) if head.activation is not None]
    assert len(stay) == 19
    return stay, np.concatenate([heads[index].activation for index in stay])


@pytest.fixture(scope="module")
def host():
    running = HostProcess("--max-batch", "64")
    yield running
    code, errors = running.stop()
    assert code == 0
    assert "Traceback" not in errors


@pytest.fixture
def device(expected, tmp_path):
    """Runs the unchanged device over the committed frames against a URL; its lines, checked against PyTorch."""

    def run(url: str, *options: str) -> list[dict]:
        frames = BUNDLE.parent / "frames.npz"
        (tmp_path / "out.jsonl").unlink(missing_ok=True)  # the device would append
        done = subprocess.run(
            [
                sys.executable, "-m", "device", "run", "--bundle", str(BUNDLE), "--source", f"npz:{frames}", "--defq", "off", "--payload", "fp32",
                "--host", url, "--require-host", "--timeout-ms", "10000", "--jsonl", str(tmp_path / "out.jsonl"), *options,
            ],
            cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [line["index"] for line in lines] == list(range(60))
        assert [line["exit"] for line in lines] == expected["exit"].tolist()
        assert [line["label_id"] for line in lines] == expected["label"].tolist()
        np.testing.assert_allclose([line["confidence"] for line in lines], expected["confidence"], atol=1e-4)
        assert [line["source"] for line in lines] == ["edge" if line["exit"] <= 2 else "host" for line in lines]
        return lines

    return run


class Server:
    """A program that serves the tail on a port, its output in a file."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment}
            )

    def last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:200] if lines else "it printed nothing"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def ready(server: Server, url: str, seconds: float = 120) -> bool:
    """Wait until it serves."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            time.sleep(0.2)
    return False
