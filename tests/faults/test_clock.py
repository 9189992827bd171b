"""The wall clock jumps by an hour to and fro under device and host, as after a start without network or a wrong RTC.

Python's time.time is replaced in both programs; with FAKETIME_LIBRARY=path of libfaketimeMT.so.1 (Debian's package faketime) each
call of the C library sees the jump instead. The figures say which.
"""

import email.utils
import http.client
import os
import subprocess
import sys
import time

import pytest

from tests.faults.programs import Device, Host, until

HOUR_S = 3600
PATCH = """
import time
real = time.time
def now():
    with open({name!r}) as file:
        return real() + float(file.read() or 0)
time.time, time.time_ns = now, lambda: int(now() * 1e9)
"""


class Clock:
    """The wall clock of programs that are started with ``environment``."""

    def __init__(self, folder):
        self._file = folder / "clock"
        library = os.environ.get("FAKETIME_LIBRARY")
        self.jump(0)
        if library:
            self.kind = "libfaketime"
            self.environment = {
                "LD_PRELOAD": library,
                "FAKETIME_TIMESTAMP_FILE": str(self._file),
                "FAKETIME_NO_CACHE": "1",
                # the monotonic clock never jumps
                "DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        else:
            self.kind = "Python's time.time"
            (folder / "sitecustomize.py").write_text(PATCH.format(name=str(self._file)))
            path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
            self.environment = {"PYTHONPATH": path}

    def jump(self, seconds):
        """Set the wall clock to so many seconds from the true time."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}")
        fresh.replace(self._file)  # at once: it is read at any time

    def seen_by_python(self):
        """How far off the true time a program is."""
        told = subprocess.check_output(
            [sys.executable, "-c", "import time; print(time.time())"], env={**os.environ, **self.environment}, text=True
        )
        return float(told) - time.time()


def seen_by(host):
    """How far off the true time the Date of a host's answers is."""
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=20)
    connection.request("GET", "/v2/health/live")
    date = connection.getresponse().getheader("Date")
    connection.close()
    return email.utils.parsedate_to_datetime(date).timestamp() - time.time()


@pytest.mark.long
def test_the_clock_jumps(launch, finish, tmp_path):
    """Decisions, deadlines, batches and latencies go by the monotonic clock."""
    clock = Clock(tmp_path)
    host = launch(Host, environment=clock.environment)
    device = launch(Device, host.url, environment=clock.environment)
    device.wait_for("host", 0.0)
    began, jumps = time.monotonic(), 0
    for seconds in (HOUR_S, 0, -HOUR_S, HOUR_S, -HOUR_S, 0):
        clock.jump(seconds)
        jumps += 1
        assert abs(clock.seen_by_python() - seconds) < 5
        until(lambda seconds=seconds: abs(seen_by(host) - seconds) < 5, 10)  # the server renews its Date once a second
    away = time.monotonic()
    host.kill()  # a fault while the clock is wrong: pauses and deadlines go on
    clock.jump(-HOUR_S)
    time.sleep(0.5)
    assert launch(host.again).port == host.port
    recovery = device.recovery_s(time.monotonic())
    row = finish(f"clocks jump by an hour or two, {jumps} times", device, None, began, away - 0.1, note=clock.kind)
    if clock.kind != "libfaketime":  # which takes a tenth of a second and more of each answer, jump or not
        assert row["fallback"] == 0
    assert row["host"] > 20
    assert recovery < 2
    seen = device.seen()
    assert all(0 <= value < 2500 for each in seen for value in each.decision["ms"].values())
