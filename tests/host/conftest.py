"""A host as a process, for all tests that talk to one."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from host.serving.guard import ClientLimits
from host.serving.limits import ConnectionLimits
from tests.host.site import Host

PATIENT = ConnectionLimits()
ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "tests" / "device" / "data" / "tiny_bundle"


class HostProcess:
    """A real ``defq serve`` on a free port."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "host", "serve", "--bundle", str(BUNDLE), "--port", "0", "--threads", "1", *options],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        line = self.process.stdout.readline()
        found = re.search(r"https?://127\.0\.0\.1:(\d+)", line)
        if not found:
            raise AssertionError(f"the host said {line!r} and {self.process.communicate(timeout=10)[1]!r}")
        self.port = int(found.group(1))
        self.url = found.group()

    def stop(self) -> tuple[int, str]:
        """Exit code and stderr after SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, errors = self.process.communicate(timeout=30)
        finally:
            self.process.kill()
        return self.process.returncode, errors


@pytest.fixture(scope="module")
def host():
    running = HostProcess()
    yield running
    code, errors = running.stop()
    assert code == 0
    assert "Traceback" not in errors  # nothing that the tests sent made it stumble
    assert "RuntimeWarning" not in errors


@pytest.fixture
def own_host():
    started = []

    def start(*options):
        started.append(HostProcess(*options))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate(timeout=10)


@pytest.fixture
def serve(request):
    """Starts hosts, on asyncio's loop or on that of the test's mark."""
    loop = getattr(request, "param", "asyncio")
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    started = []

    def start(limits=PATIENT, known=None, tls=None, **client_limits):
        started.append(Host(loop, ClientLimits(**client_limits), limits, known, tls))
        return started[-1]

    yield start
    for each in started:
        each.stop()
