"""Tokens, a clock and a request for the tests of host/serving."""

from types import SimpleNamespace

import numpy as np
import pytest

from device.protocol.messages import encode_request
from host.serving import rate

TOKEN, SECOND = "cam-1-token-0123", "cam-2-token-4567"


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(f"cam-1: {TOKEN}\ncam-2: {SECOND}\n")
    return path


@pytest.fixture
def clock(monkeypatch):
    """The clock of the rate limits; ``now_s`` is set by the test."""
    made = SimpleNamespace(now_s=1000.0)
    monkeypatch.setattr(rate, "time", SimpleNamespace(monotonic=lambda: made.now_s))
    return made


@pytest.fixture(scope="module")
def body():
    generator = np.random.default_rng(0)
    return encode_request({"activation": generator.normal(size=(2, 6, 8, 8)).astype(np.float32)}, request_id="frame-7")
