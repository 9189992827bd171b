"""A real Ray Serve on this machine. Where Ray is not installed these tests are skipped, with the reason."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from device.link.host_client import HostClient
from device.payload.base import Sendable
from host.app.tail import Tail
from tests.host.conftest import BUNDLE, ROOT
from tests.host.waits import until
from tests.interop.conftest import bundle, device, expected, sent  # noqa: F401 (fixtures)

INSTALL = "pip install -r tests/cluster/requirements.txt, in an environment of its own"
HOST = [sys.executable, "-m", "host", "cluster"]


@pytest.fixture(scope="session", autouse=True)
def _ray():
    if importlib.util.find_spec("ray") is None:
        pytest.skip(f"needs ray: {INSTALL}")


class Cluster:
    """``defq cluster`` on a free port. lines: what it has said so far."""

    def __init__(self, *options: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*HOST, "--bundle", str(BUNDLE), "--port", "0", "--threads", "1", *options],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})},
        )  # fmt: skip
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=lambda stream=stream, into=into: into.extend(stream), daemon=True)
            for stream, into in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()
        try:
            line = self.wait_for(r"host: serving \S+ on (http://127\.0\.0\.1:\d+) ", 120)
        except BaseException:
            self.process.kill()
            raise
        self.url = line.group(1)

    def wait_for(self, pattern: str, seconds: float) -> re.Match:
        """Wait for a line of the output, and return it. It may have been printed already."""

        def found() -> re.Match | None:
            assert self.process.poll() is None, (
                f"waited for {pattern!r}; found {self.lines} and {''.join(self.errors)[-2000:]}"
            )
            return next(filter(None, (re.search(pattern, line) for line in list(self.lines))), None)

        return until(found, seconds)

    def replicas(self) -> list[int]:
        return [pid for pid in descendants(self.process.pid) if command_of(pid).startswith("ray::ServeReplica")]

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM, check that none of its processes is left, and return exit code and stderr."""
        family = descendants(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
        for reader in self._readers:
            reader.join(10)
        until(lambda: not any(map(command_of, family)), 15)
        return self.process.returncode, "".join(self.errors)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""  # it has ended


def descendants(pid: int) -> list[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    found, fresh = [], {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh}
        found += fresh
    return found


@pytest.fixture(scope="module")
def cluster():
    running = Cluster("--replicas", "2")
    yield running
    code, errors = running.stop()
    assert code == 0
    assert "Traceback" not in errors


@pytest.fixture(scope="session")
def answers(bundle, sent):  # noqa: F811
    """Exit and label of the activations in ``sent``, from the tail in this process."""
    _, activations = sent
    threshold = np.full((len(activations), 1), 0.62, np.float32)
    found = Tail(bundle, 1).run(activations, threshold)
    return list(zip(found.exit.tolist(), found.label.tolist(), strict=True))


class Fleet:
    """Devices that send frame after frame until told to stop. A frame counts once, with what became of it."""

    def __init__(self, url: str, bundle, activations, answers, devices: int = 4, timeout_s: float = 30) -> None:  # noqa: F811
        self.frames = self.wrong = self.fallback = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._activations, self._answers = activations, answers
        self.clients = [HostClient(url, bundle, 0.62, 2, timeout_s) for _ in range(devices)]
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in self.clients for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _run(self, client: HostClient) -> None:
        index = 0
        while not self._stop.is_set():
            index = (index + 1) % len(self._activations)
            request = client.submit(Sendable(self._activations[index : index + 1]), wait=True)
            request.wait()
            with self._lock:
                self.frames += 1
                if request.answer is None:
                    self.fallback += 1
                elif (request.answer.exit, request.answer.label) != self._answers[index]:
                    self.wrong += 1

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        for client in self.clients:
            client.close()


@pytest.fixture
def fleet(bundle, sent, answers):  # noqa: F811
    started = []

    def start(url: str, **options):
        started.append(Fleet(url, bundle, sent[1], answers, **options))
        return started[-1]

    yield start
    for each in started:
        each.stop()
