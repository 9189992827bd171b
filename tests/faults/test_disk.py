"""Full disks: under the decisions, under the summary, under what the programs print."""

import json
import os
import resource
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.conftest import add_row
from tests.faults.programs import Device, Host, check, right, until

FRAMES = 600


@pytest.fixture
def full_disk(tmp_path, request):
    """A file on a disk that is full at once or after 16 kB, and what the device needs to be started with."""
    kind = request.param
    if kind == "/dev/full":
        yield "/dev/full", {}
    elif kind == "a file size limit":
        limit = (1 << 14, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        yield (
            str(tmp_path / "decisions.jsonl"),
            {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)},
        )
    else:
        mounted = os.geteuid() == 0 and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(tmp_path)], capture_output=True
        )
        if not mounted or mounted.returncode:
            pytest.skip("a small disk of its own needs root")
        try:
            yield str(tmp_path / "decisions.jsonl"), {}
        finally:
            subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("full_disk", ["/dev/full", "a file size limit", "a small tmpfs"], indirect=True, ids=str)
def test_decisions_on_a_full_disk(launch, full_disk, request):
    """What does not fit goes to stdout: file and stdout together hold each decision once, in order."""
    name, how = full_disk
    host = launch(Host)
    device = launch(Device, host.url, "--frames", str(FRAMES), live=False, rate=0, jsonl=name, **how)
    assert device.wait() == 3
    assert "No space left on device" in device.stderr or "File too large" in device.stderr
    assert "Traceback" not in device.stderr
    kept = "" if name == "/dev/full" else Path(name).read_text()
    whole = kept[: kept.rfind("\n") + 1]  # the line that met the end of the disk is on stdout again
    decisions = [json.loads(line) for line in whole.splitlines()] + [each.decision for each in device.seen()]
    assert check(decisions)["fallback"] == 0
    assert len(decisions) == FRAMES
    right(decisions)
    kind = request.node.callspec.params["full_disk"]
    add_row(f"decisions on a full disk ({kind})", decisions, in_the_file=whole.count("\n"))


def test_a_summary_on_a_full_disk(launch):
    device = launch(Device, "http://127.0.0.1:9", "--frames", "60", "--summary", "/dev/full", live=False, rate=0)
    assert device.wait() == 3
    assert "could not write /dev/full (No space left on device)" in device.stderr
    check([each.decision for each in device.seen()])
    assert len(device.seen()) == 60


def test_the_hosts_log_on_a_full_disk(launch, finish):
    """It logs each request to where nothing fits; the frames are answered all the same."""
    with open("/dev/full", "w") as full:
        host = launch(Host, "--log-requests", stderr=full)
        device = launch(Device, host.url, "--connections", "8", "--timeout-ms", "5000", rate=50)
        until(lambda: len(device.seen()) > 100)
        row = finish("host's log on a full disk", device)
        assert row["fallback"] == 0
        assert host.stop() == 0


def test_the_devices_messages_on_a_full_disk(launch):
    """It loses its host and finds it again, and can tell nobody."""
    host = launch(Host)
    with open("/dev/full", "w") as full:
        device = launch(Device, host.url, "--connections", "1", rate=100, stderr=full)
        device.wait_for("host", 0.0)
        host.kill()
        device.wait_for("fallback", time.monotonic())
        launch(host.again)
        good = time.monotonic()
        recovery = device.recovery_s(good)
        device.stop()
    seen = [each.decision for each in device.seen()]
    check(seen)
    right(seen)
    add_row("device's messages on a full disk, host killed", seen, recovery)
    assert recovery < 2
