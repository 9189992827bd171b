"""Stopping by a signal: the handler may run at any instruction of the main thread."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from device.system.stop_flag import StopFlag

ROOT = Path(__file__).resolve().parents[3]
SIGNALS_ALL_THE_TIME = """
import signal, time
from device.system.stop_flag import StopFlag

flags = [StopFlag()]

def handler(*_):
    flags[-1].set()

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
end_s, stopped = time.monotonic() + 0.5, 0
while time.monotonic() < end_s:
    while not flags[-1].wait(1e-5):
        pass
    stopped += 1
    flags[:] = [StopFlag()]
signal.setitimer(signal.ITIMER_REAL, 0)
print(stopped)
"""


def test_a_wait_ends_when_the_flag_is_set():
    flag = StopFlag()
    assert not flag.wait(0.01)
    setter = threading.Timer(0.02, flag.set)
    setter.start()
    assert flag.wait(30)
    flag.set()
    assert flag.is_set()
    assert flag.wait(30)
    setter.join()


def test_many_may_set_it_and_wait_for_it():
    flag, found = StopFlag(), []
    waiting = [threading.Thread(target=lambda: found.append(flag.wait(30))) for _ in range(5)]
    for each in waiting:
        each.start()
    for _ in range(100_000):
        flag.set()
    for each in waiting:
        each.join()
    assert found == [True] * 5


def test_a_handler_never_waits_for_the_thread_that_it_interrupts():
    """The same loop with threading.Event stands still within milliseconds."""
    ran = subprocess.run([sys.executable, "-c", SIGNALS_ALL_THE_TIME], cwd=str(ROOT), stdout=subprocess.PIPE,
                         env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)  # fmt: skip
    assert ran.returncode == 0
    assert int(ran.stdout) > 10


@pytest.mark.parametrize("part", ["device", "host", "export", "bench"])
def test_no_module_with_a_signal_handler_has_an_event(part):
    handles = re.compile(r"signal\.signal\(")
    locks = re.compile(r"threading\.(Event|Lock|Condition|Semaphore)\(|queue\.Queue\(")
    modules = [path for path in (ROOT / part).rglob("*.py") if handles.search(path.read_text(encoding="utf-8"))]
    assert [path for path in modules if locks.search(path.read_text(encoding="utf-8"))] == []
