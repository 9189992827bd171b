"""The real programs in processes of their own, and what came out of them with the time of each line."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "device" / "data"
BUNDLE = DATA / "tiny_bundle"
# The frames of a file wait for the host; a camera's do not. This makes a file a camera, and changes nothing else.
AS_CAMERA = (
    "import sys; from device.cameras.arrays import ArrayCamera; ArrayCamera.live = True; "
    "from device.commands.cli import main; sys.exit(main(sys.argv[1:]))"
)


class Program:
    """A process whose output is read all the time, so that it never blocks on a full pipe.

    Args:
        command: arguments of Python.
        environment: beside this process's.
        stdout, stderr: a file descriptor instead of the pipe that ``lines`` and ``errors`` are read from.
    """

    def __init__(
        self,
        command: Iterable[str],
        environment: dict[str, str] | None = None,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        **options: Any,
    ) -> None:
        quiet = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.lines: list[tuple[float, str]] = []
        self.errors: list[tuple[float, str]] = []
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=stdout, stderr=stderr, text=True,
            env={**os.environ, **quiet, **(environment or {})}, **options,
        )  # fmt: skip
        streams = ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        self._readers = [
            threading.Thread(target=self._read, args=(stream, kept), daemon=True) for stream, kept in streams if stream
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, kept: list[tuple[float, str]]) -> None:
        for line in stream:
            kept.append((time.monotonic(), line))

    @property
    def stderr(self) -> str:
        return "".join(line for _, line in self.errors)

    def rss_kb(self) -> int:
        """Resident memory now (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1))  # type: ignore[union-attr]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """At once, as a power cut would."""
        if self.process.poll() is None:
            self.process.kill()  # works on a stopped process too
        self.wait()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait()

    def wait(self, timeout: float = 60) -> int:
        try:
            code = self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
        for reader in self._readers:
            reader.join(10)
        return code


def until(condition: Callable[[], Any], timeout: float = 30) -> Any:
    """The first true value; fails after the time-out."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"still waiting after {timeout} s")


class Host(Program):
    """``defq serve``."""

    def __init__(self, *options: str, address: str = "127.0.0.1", port: int = 0, **how: Any) -> None:
        super().__init__(
            ["-m", "host", "serve", "--bundle", str(BUNDLE), "--address", address, "--port", str(port), "--threads", "1",
             *options], **how)  # fmt: skip
        self.options, self.address, self.how = options, address, how
        line = until(lambda: self.lines or (self.process.poll() is not None and [(0, "")]), 60)[0][1]
        found = re.search(r"http://[\d.]+:(\d+)", line)
        if not found:
            raise AssertionError(f"the host said {line!r} and {self.stderr!r}")
        self.port, self.url = int(found.group(1)), found.group()

    def again(self) -> "Host":
        """Start another host on the same port."""
        return Host(*self.options, address=self.address, port=self.port, **self.how)


class Seen(NamedTuple):
    """A decision, and when it was read (time.monotonic())."""

    at: float
    decision: dict[str, Any]

    @property
    def source(self) -> str:
        return str(self.decision["source"])


class Device(Program):
    """``defq run`` without DefQ over the tiny frames: half of them need the host.

    Args:
        live: frames come at ``rate`` and wait for nobody, as a camera's.
        rate: frames a second; 0 as fast as they are read.
    """

    def __init__(
        self, url: str, *options: str, live: bool = True, rate: float = 60, frames: Path = DATA / "frames.npz",
        jsonl: str = "-", **how: Any,
    ) -> None:  # fmt: skip
        source = f"npz:{frames}?loop=1" + (f"&rate={rate:g}" if rate else "")
        run = ["run", "--bundle", str(BUNDLE), "--source", source, "--host", url, "--jsonl", jsonl]
        self.rate = rate
        program = ["-c", AS_CAMERA] if live else ["-m", "device"]
        super().__init__([*program, *run, "--defq", "off", "--payload", "fp32", "--threads", "1", *options], **how)

    def seen(self, since: float = 0.0) -> list[Seen]:
        """The decisions so far (whole lines alone)."""
        return [Seen(at, json.loads(line)) for at, line in list(self.lines) if at >= since and line.endswith("}\n")]

    def wait_for(self, source: str, since: float, timeout: float = 30) -> Seen:
        """The first decision of this source that was read after a moment."""

        def first() -> Seen | None:
            ended = self.process.poll() is not None
            found = next((each for each in self.seen(since) if each.source == source), None)
            assert found or not ended, f"the device has ended: {self.stderr}"
            return found

        found: Seen = until(first, timeout)
        return found

    def recovery_s(self, since: float) -> float:
        """From the end of a fault to the first answer of the host, at most 30 s later."""
        return self.wait_for("host", since).at - since


def taken_s(seen: list[Seen], rate: float) -> np.ndarray:
    """When the camera took each frame, time.monotonic(); float (n,).

    A decision comes out when those before it are out, so its own time tells little; but frames come at a steady rate,
    and the decisions that came out soonest tell since when.
    """
    index = np.array([each.decision["index"] for each in seen], float)
    at = np.array([each.at - each.decision["ms"]["total"] / 1e3 for each in seen])
    times: np.ndarray = (at - index / rate).min() + index / rate
    return times


def check(decisions: list[dict[str, Any]]) -> dict[str, int]:
    """Every frame has exactly one decision, in order, marked with its source; how many of each.

    A frame that left on the device has an exit there and needs no host; one of the host an exit of the host.
    """
    assert [each["index"] for each in decisions] == list(range(len(decisions)))
    assert decisions
    for each in decisions:
        assert each["source"] in ("edge", "host", "fallback"), each
        assert (each["exit"] > 2) == (each["source"] == "host"), each  # the tiny bundle is split after exit 2
        assert 0 <= each["label_id"] < 3, each
        assert 0 <= each["confidence"] <= 1.0001, each
    return {name: sum(each["source"] == name for each in decisions) for name in ("edge", "host", "fallback")}


def right(decisions: list[dict[str, Any]]) -> int:
    """How many answers of exits and host are PyTorch's; all of them must be (a fallback has no such answer)."""
    with np.load(DATA / "expected.npz") as expected:
        exits, labels = expected["exit"], expected["label"]
    answered = [each for each in decisions if each["source"] != "fallback"]
    for each in answered:
        place = each["index"] % len(exits)
        assert (each["exit"], each["label_id"]) == (exits[place], labels[place]), each
    return len(answered)
