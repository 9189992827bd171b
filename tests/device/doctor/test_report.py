"""The whole report, and the whole command once for real."""

import argparse
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from device.commands import cli, doctor
from device.doctor import report, wheels
from device.doctor.check import FAILED, OK, SKIPPED, WARNING, Check, isolated
from device.doctor.report import Job
from device.errors import BundleError, HostError, UsageError
from tests.device.doctor.test_check import fine

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

GOOD = wheels.Imports(
    {"numpy": {"version": "2.1.0", "file": "/x"}, "cv2": {"version": "4.11.0", "file": "/x", "gstreamer": False},
     "onnxruntime": {"version": "1.20.0", "file": "/x"}}, "",
)  # fmt: skip
ABSENT = wheels.Imports({}, "Illegal instruction")


def raising(error):
    def run():
        raise error

    return run


def test_lines_come_one_by_one_in_order(monkeypatch):
    monkeypatch.setattr(wheels, "is_jetson", lambda: False)
    told = []
    checks = report.examine([Job("clock", (), lambda: Check("clock", OK, "fine"))], GOOD, told.append)
    assert checks == told
    assert [check.name for check in checks] == ["python", "numpy", "opencv", "onnxruntime", "clock"]


def test_what_needs_a_failed_line_is_skipped():
    def never():
        pytest.fail("ran")

    lines = [Job("engine", ("numpy", "onnxruntime"), never), Job("memory", (), lambda: Check("memory", OK, "fine"))]
    checks = {check.name: check for check in report.examine(lines, ABSENT)}
    assert checks["engine"] == Check("engine", SKIPPED, "needs numpy and onnxruntime first")
    assert checks["memory"].status == OK
    assert report.exit_code(list(checks.values())) == 4


def test_a_bundle_that_was_not_named_is_no_failure():
    lines = [
        Job("bundle", (), lambda: Check("bundle", SKIPPED, "")),
        Job("engine", ("bundle",), lambda: Check("engine", OK, "")),
    ]
    assert report.examine(lines, GOOD)[-1].status == OK
    lines[0] = Job("bundle", (), raising(BundleError("found none")))
    assert report.examine(lines, GOOD)[-1].found == "needs bundle first"


def test_exit_code_is_that_of_the_first_failure():
    warning = Check("clock", WARNING, "", "", 9)
    assert report.exit_code([fine(), warning]) == 0
    assert report.exit_code([warning, Check("bundle", FAILED, "", "", 3), Check("host", FAILED, "", "", 5)]) == 3


@pytest.mark.parametrize(("error", "code"), [(BundleError("x"), 3), (HostError("x"), 5), (KeyError("x"), 1)])
def test_exit_codes_of_errors(error, code):
    assert report.exit_code([isolated("x", raising(error), 1, 5)]) == code


def test_a_check_is_one_line_and_its_fix_another():
    assert report.text(Check("clock", OK, "fine")) == "clock        ok       fine"
    assert report.text(Check("onnxruntime", FAILED, "x", "do y")) == "onnxruntime  FAILED   x\n             fix: do y"
    assert report.text(Check("host", WARNING, "x"), colour=True) == "host         \033[33mwarning\033[0m  x"


def test_colour_on_a_terminal_alone(monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", Terminal(raw, encoding="ascii"))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        doctor.print_check(Check("temperature", OK, "48 °C"))
        assert (b"\033[32m" in raw.getvalue()) == coloured
        assert b"48 ?C" in raw.getvalue()  # the locale of a service


def test_a_camera_that_calls_itself_an_escape_sequence():
    line = report.text(Check("cameras", OK, "\x1b]0;mine\x07 (USB\n)", "try \x1b[2J"))
    assert "\x1b" not in line
    assert "\\x1b]0;mine\\x07 (USB\\n)" in line
    assert len(line.splitlines()) == 2


def test_jobs_know_what_was_not_asked_for():
    lines = {job.name: job for job in doctor.jobs(argparse.Namespace(bundle=None, host=None, source=None))}
    for name in ("bundle", "source", "host"):
        check = lines[name].run()
        assert (check.status, check.name) == (SKIPPED, name)
        assert "add --" + name in check.found
    assert sum(job.limit_s for job in lines.values()) < 120  # what the installer waits


def test_host_without_bundle_is_a_usage_error(capsys):
    assert cli.main(["doctor", "--host", "http://127.0.0.1:9"]) == UsageError.exit_code
    assert "add --bundle DIR" in capsys.readouterr().err


def test_importing_the_doctor_imports_no_library_that_may_die():
    code = "import device.commands.doctor, sys; print({'numpy', 'cv2', 'onnxruntime'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT) == b"set()\n"


def doctor_process(*options):
    done = subprocess.run(
        [sys.executable, "-m", "device", "doctor", *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_command_checks_this_machine(bundle_folder, fake_host, frames_file):
    code, out, error = doctor_process(
        "--bundle", bundle_folder, "--host", fake_host.url, "--source", "npz:" + frames_file
    )
    lines = [line for line in out.splitlines() if not line.startswith(" ")]
    assert [line.split()[0] for line in lines[:-1]] == [
        "python", "numpy", "opencv", "onnxruntime", "bundle", "engine", "cameras", "source", "power", "host", "clock",
        "throttling", "temperature", "disk", "memory",
    ]  # fmt: skip
    assert lines[-1].startswith("0 failed, ")
    assert "\033" not in out
    assert error == ""
    assert code == 0


def test_the_command_as_json(bundle_folder):
    code, out, error = doctor_process("--bundle", bundle_folder, "--host", "http://127.0.0.1:9", "--json")
    found = json.loads(out)
    assert code == found["exit_code"] == 5
    assert (found["format"], found["format_version"]) == ("sdn-edge-doctor", 1)
    assert set(found["versions"]) == {"device", "python", "numpy", "opencv", "onnxruntime"}
    assert found["versions"]["numpy"] == np.__version__
    checks = {check["name"]: check for check in found["checks"]}
    assert set(checks["host"]) == {"name", "status", "found", "fix"}
    assert checks["host"]["status"] == FAILED
    assert checks["python"]["fix"] is None
    assert error == ""
