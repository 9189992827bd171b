"""Messages to systemd: that the service is ready, alive, or waiting for a camera."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from device.cameras.base import Pacer
from device.system.systemd import Notifier, notify

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


@pytest.fixture
def systemd(tmp_path):
    """The listening end, as systemd makes it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def received(listener):
    listener.setblocking(False)
    found = []
    try:
        while True:
            found.append(listener.recv(100).decode())
    except BlockingIOError:
        return found


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


def test_without_systemd_nothing_is_sent():
    assert not Notifier({}).notify("READY=1")
    assert not Notifier({"NOTIFY_SOCKET": ""}).notify("READY=1")
    if "NOTIFY_SOCKET" not in os.environ:
        assert not notify("READY=1")


@pytest.mark.parametrize("state", ["READY=1", "WATCHDOG=1", "STOPPING=1", "STATUS=12 frames"])
def test_a_state_reaches_systemd(systemd, tmp_path, state):
    assert Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).notify(state)
    assert received(systemd) == [state]


def test_address_without_a_file():
    name = "defq-test-{}".format(os.getpid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        assert Notifier({"NOTIFY_SOCKET": "@" + name}).notify("READY=1")
        assert received(listener) == ["READY=1"]


@pytest.mark.parametrize(("length_us", "pause_s"), [("8000000", 2), (None, 1), ("", 1), ("soon", 1)])
def test_a_repeat_is_left_out_for_a_quarter_of_the_watchdog(systemd, tmp_path, length_us, pause_s):
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    if length_us is not None:
        environment["WATCHDOG_USEC"] = length_us
    clock = Clock()
    notifier = Notifier(environment, clock)
    for step in range(10):
        clock.now_s = 1000 + step * pause_s / 2
        notifier.notify("WATCHDOG=1")
    assert received(systemd) == ["WATCHDOG=1"] * 5
    assert notifier.notify("READY=1")  # another state does not wait for it


def test_a_socket_that_is_gone_or_full_costs_nothing(systemd, tmp_path):
    clock = Clock()
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4"}, clock)
    sent = 0
    for _ in range(5000):  # nobody reads: the queue of the socket fills up
        clock.now_s += 1
        sent += notifier.notify("WATCHDOG=1")
    assert 0 < sent < 5000
    assert len(received(systemd)) == sent
    os.remove(str(tmp_path / "notify"))
    clock.now_s += 1
    assert not notifier.notify("WATCHDOG=1")


def test_waiting_on_purpose_is_told_and_hanging_is_not(systemd, tmp_path):
    clock = Clock()
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "8000000"}, clock)
    waited = []

    def wait(seconds):
        waited.append(seconds)
        clock.now_s += seconds
        return False

    assert not notifier.wait_alive(wait, 5)
    assert waited == [2, 2, 1]  # a quarter of the watchdog's time
    assert received(systemd) == ["WATCHDOG=1"] * 2
    assert notifier.wait_alive(lambda seconds: wait(seconds) or len(waited) == 6, 100)  # what was waited for comes
    assert received(systemd) == ["WATCHDOG=1"] * 2
    stuck = threading.Event()
    thread = threading.Thread(target=notifier.wait_alive, args=(lambda seconds: stuck.wait(5), 3600))
    thread.start()  # something in the loop that does not come back after its part of the time
    assert received(systemd) == []
    stuck.set()
    thread.join()


def test_where_nobody_listens_a_wait_is_one(tmp_path):
    waited = []
    assert not Notifier({}).wait_alive(waited.append, 500)
    assert waited == [pytest.approx(500, abs=1)]


@pytest.mark.parametrize("with_stop", [False, True])
def test_a_slow_source_tells_that_it_waits(monkeypatch, with_stop):
    waits = []
    monkeypatch.setattr("device.cameras.base.wait_alive", lambda wait, seconds: waits.append(seconds) or False)
    pacer = Pacer(0.01)
    stop = threading.Event() if with_stop else None
    assert pacer.wait(stop)
    assert pacer.wait(stop)
    assert waits == [pytest.approx(100, abs=1)]
    monkeypatch.setattr("device.cameras.base.wait_alive", lambda wait, seconds: wait(0))
    if stop is not None:
        stop.set()
    assert pacer.wait(stop) == (not with_stop)


def test_notify_takes_the_environment_of_its_process(systemd, tmp_path):
    environment = dict(os.environ, NOTIFY_SOCKET=str(tmp_path / "notify"))
    program = "from device.system.systemd import notify; notify('READY=1'); notify('READY=1')"
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, check=True, timeout=30)
    assert received(systemd) == ["READY=1"]
