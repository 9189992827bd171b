"""A check that fails, hangs, dies or prints is one line of the report."""

import faulthandler
import os
import select
import signal
import subprocess
import time

import pytest

from device.doctor.check import FAILED, OK, Check, guarded, isolated
from device.errors import BundleError


def fine():
    return Check("x", OK, "fine", "", 0)


def of_bundle():
    raise BundleError("found no head; expected one; copy the bundle again")


def of_nobody():
    raise ValueError("bad\nvalue")


@pytest.mark.parametrize("run", [lambda f: guarded("x", f, 4), lambda f: isolated("x", f, 4, 5)])
def test_errors_become_failed_lines(run):
    assert run(fine) == fine()
    assert run(of_bundle) == Check("x", FAILED, "found no head; expected one", "copy the bundle again", 3)
    failed = run(of_nobody)
    assert (failed.status, failed.exit_code) == (FAILED, 4)
    assert failed.found == "the check itself failed (ValueError: bad)"
    assert "--debug" in failed.fix


def test_debug_shows_the_traceback(capfd):
    isolated("x", of_nobody, 1, 5)
    assert capfd.readouterr().err == ""
    isolated("x", of_nobody, 1, 5, debug=True)
    assert "in of_nobody" in capfd.readouterr().err


def test_a_check_that_hangs_is_ended_with_what_it_started(monkeypatch):
    monkeypatch.setattr("device.doctor.check.GRACE_S", 0.1)
    alive, mark = os.pipe()  # it is at its end once nothing is left that has mark

    def hang():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.call(["sleep", "60"], pass_fds=(mark,))
        return fine()

    started_s = time.monotonic()
    check = isolated("x", hang, 4, 0.2)
    assert time.monotonic() - started_s < 3
    assert (check.status, check.exit_code) == (FAILED, 4)
    assert check.found == "found no end of this check within 0.2 s"
    os.close(mark)
    assert select.select([alive], [], [], 10)[0]
    os.close(alive)


def test_a_library_that_dies_costs_one_line():
    def die():
        faulthandler.disable()  # pytest's
        os.kill(os.getpid(), signal.SIGILL)

    check = isolated("x", die, 4, 5)
    assert (check.status, check.exit_code) == (FAILED, 4)
    assert check.found == "the process of this check died (Illegal instruction)"


def test_what_libraries_print_does_not_mix_with_the_report(capfd):
    def noisy():
        os.write(1, b"[libcamera] INFO")
        os.write(2, b"warning")
        return fine()

    assert isolated("x", noisy, 1, 5) == fine()
    assert capfd.readouterr() == ("", "")
    isolated("x", noisy, 1, 5, debug=True)
    assert capfd.readouterr() == ("", "[libcamera] INFOwarning")
