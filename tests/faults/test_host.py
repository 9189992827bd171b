"""A host that dies, freezes, or talks nonsense, while a device decides on a camera's frames."""

import signal
import time

import pytest

from tests.faults.conftest import RECOVERY_S
from tests.faults.programs import Device, Host
from tests.faults.proxy import MODES, Proxy


@pytest.mark.parametrize(("how", "away_s"), [(signal.SIGKILL, 1.0), (signal.SIGTERM, 0.5)], ids=["killed", "stopped"])
def test_a_host_that_is_restarted_is_found_again(launch, finish, how, away_s):
    host = launch(Host)
    device = launch(Device, host.url)
    device.wait_for("host", 0.0)
    bad = time.monotonic()
    host.signal(how)
    host.wait()
    time.sleep(away_s)
    launch(host.again)
    good = time.monotonic()
    recovery = device.recovery_s(good)
    time.sleep(0.3)
    row = finish(
        f"host {'killed' if how == signal.SIGKILL else 'stopped'} and started again", device, recovery, bad, good
    )
    assert row["fallback"] > 0
    assert recovery < RECOVERY_S


@pytest.mark.long
def test_a_host_that_is_restarted_ten_times_is_found_again(launch, finish):
    host = launch(Host)
    device = launch(Device, host.url)
    device.wait_for("host", 0.0)
    bad, recoveries = time.monotonic(), []
    for _ in range(10):
        host.kill()
        host = launch(host.again)
        recoveries.append(device.recovery_s(time.monotonic()))
    finish("host killed ten times", device, max(recoveries), bad)
    assert max(recoveries) < RECOVERY_S


@pytest.mark.long
@pytest.mark.parametrize("seconds", [1.0, 6.0])
def test_a_frozen_host_is_found_again(launch, finish, seconds):
    """It is there and the kernel takes connections for it, but it answers nothing."""
    host = launch(Host)
    device = launch(Device, host.url)
    device.wait_for("host", 0.0)
    bad = time.monotonic()
    host.signal(signal.SIGSTOP)
    time.sleep(seconds)
    host.signal(signal.SIGCONT)
    good = time.monotonic()
    recovery = device.recovery_s(good)
    time.sleep(1)
    finish(f"host frozen for {seconds:g} s", device, recovery, bad, good)
    assert recovery < RECOVERY_S
    assert host.stop() == 0


def test_garbage_from_the_host(launch, finish):
    """Each kind for a while; every frame is decided all the same, and no nonsense passes for an answer."""
    host = launch(Host)
    with Proxy(host.port, seed=3) as proxy:
        device = launch(Device, proxy.url, rate=100)
        device.wait_for("host", 0.0)
        bad, worst = time.monotonic(), 0.0
        for mode in MODES:
            proxy.mode = mode
            device.wait_for("fallback", time.monotonic())
            time.sleep(0.15)
            proxy.mode = "right"
            worst = max(worst, device.recovery_s(time.monotonic()))
        row = finish(f"garbage from the host, {len(MODES)} kinds", device, worst, bad, answers=proxy.spoilt)
    assert worst < RECOVERY_S
    assert row["fallback"] >= len(MODES)


@pytest.mark.long
def test_answers_that_are_now_and_then_garbage(launch, finish):
    host = launch(Host)
    with Proxy(host.port, seed=4, share=0.1) as proxy:
        device = launch(Device, proxy.url, rate=100)
        device.wait_for("host", 0.0)
        bad = time.monotonic()
        proxy.mode = "any"
        time.sleep(10)
        proxy.mode = "right"
        good = time.monotonic()
        recovery = device.recovery_s(good)
        finish("one answer in ten is garbage", device, recovery, bad, good, answers=proxy.spoilt)
    assert recovery < RECOVERY_S
