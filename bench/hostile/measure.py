"""Starts the host of a checkout, and measures what an honest client sees of it, first alone and then beside a fault."""

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.hostile import attacker, target
from device.errors import EdgeError

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
HEAD_START_S = 0.5  # of the attack before the honest client's first request
CLOCK_HZ = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Fault(NamedTuple):
    """A module of bench/hostile/faults."""

    name: str
    description: str
    options: list[str]
    open_files: int | None


class Host(NamedTuple):
    """A running host."""

    process: subprocess.Popen[str]
    port: int

    def peak_mb(self) -> float | None:
        """The most memory that it had resident at any time, in MiB; None once it has ended."""
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
            if found:
                return round(int(found.group(1)) / 1024, 1)
        return None

    def cpu_s(self) -> float | None:
        """The processor time that it took until now, in seconds; None once it has ended."""
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / CLOCK_HZ
        return None


class Cores(NamedTuple):
    """The cores of the host, and those of its clients; empty for all."""

    host: set[int]
    clients: set[int]


def cores() -> Cores:
    """The last core is for the clients where there is more than one."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return Cores(set(allowed[:-1]), set(allowed[-1:])) if len(allowed) > 1 else Cores(set(), set())


def measure(fault: Fault, checkout: Path, bundle: Path, seconds: float) -> dict[str, Any]:
    """What the honest client saw alone and under the fault, or why the host did not start."""
    result: dict[str, Any] = {"description": fault.description, "options": fault.options}
    with tempfile.TemporaryDirectory() as folder:
        tokens = {name: secrets.token_urlsafe(24) for name in ("honest", "hostile")}
        file = Path(folder, "tokens.txt")
        file.touch(0o600)
        file.write_text("".join(f"{name}: {token}\n" for name, token in tokens.items()))
        options = [each.replace("{tokens}", str(file)) for each in fault.options]
        needs_token = "--token-file" in options
        os.environ[target.BUNDLE] = str(bundle)
        try:
            with _running(checkout, bundle, options, fault.open_files, Path(folder, "log")) as host:
                request = target.infer_request(token=tokens["honest"] if needs_token else None)
                _honest(host, request, 1.0)  # the first requests of a host are slow
                result["quiet"] = _phase(host, request, seconds)
                with _attacking(fault.name, host.port, seconds, tokens["hostile"] if needs_token else None):
                    time.sleep(HEAD_START_S)
                    result["attacked"] = _phase(host, request, seconds)
                result["alive"] = host.process.poll() is None
        except EdgeError as error:
            result["failed"] = str(error)
        result["log_lines"] = len(Path(folder, "log").read_text(errors="replace").splitlines())
    return result


def _phase(host: Host, request: bytes, seconds: float) -> dict[str, Any]:
    before = host.cpu_s()
    seen = _honest(host, request, seconds)
    after = host.cpu_s()
    seen["cpu_s"] = None if before is None or after is None else round(after - before, 2)
    seen["peak_mb"] = host.peak_mb()
    return seen


def _honest(host: Host, request: bytes, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.hostile.honest", str(host.port), str(seconds)]
    done = subprocess.run(
        command, input=request, capture_output=True, cwd=ROOT, timeout=seconds + 60, preexec_fn=_on(cores().clients)
    )
    if done.returncode:
        raise EdgeError(f"the honest client ended with exit code {done.returncode}: {done.stderr.decode()[-500:]}")
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@contextlib.contextmanager
def _attacking(name: str, port: int, seconds: float, token: str | None) -> Iterator[None]:
    environment = {**os.environ, **({attacker.TOKEN: token} if token else {})}
    command = [sys.executable, "-m", "bench.hostile.attacker", name, str(port), str(seconds + 30)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, preexec_fn=_on(cores().clients)) as process:
        try:
            yield
            if process.poll() is not None:
                raise EdgeError(f"the fault {name} ended with exit code {process.returncode} before its time")
        finally:
            process.kill()


@contextlib.contextmanager
def _running(checkout: Path, bundle: Path, options: list[str], open_files: int | None, log: Path) -> Iterator[Host]:
    command = [
        sys.executable,
        "-m",
        "host",
        "serve",
        "--bundle",
        str(bundle),
        "--port",
        "0",
        "--threads",
        "1",
        *options,
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=checkout, env={**environment, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=errors,
            text=True, preexec_fn=_on(cores().host, open_files),
        )  # fmt: skip
        late = threading.Timer(START_S, process.kill)
        late.start()
        try:
            line = process.stdout.readline() if process.stdout else ""
            late.cancel()
            found = re.search(r"https?://127\.0\.0\.1:(\d+)", line)
            if not found:
                process.wait(START_S)  # until it has said why
                raise EdgeError(f"the host did not start: {log.read_text()[-500:].strip()}")
            yield Host(process, int(found.group(1)))
        finally:
            late.cancel()
            process.kill()
            process.communicate()


def _on(pinned: set[int], open_files: int | None = None) -> Any:
    """For preexec_fn: run on these cores, with this limit of open files."""

    def prepare() -> None:
        if pinned:
            os.sched_setaffinity(0, pinned)
        if open_files:
            import resource

            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

    return prepare
