"""Python and its libraries in every state, from fakes."""

import json
import os
import stat

import numpy as np
import pytest

from device.doctor import wheels
from device.doctor.check import FAILED, OK, SKIPPED, WARNING, Check

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def test_python_has_to_be_64_bit():
    assert wheels.check_python((3, 6, 9), 64, "aarch64") == Check("python", OK, "3.6.9, 64-bit, aarch64")
    check = wheels.check_python((3, 11, 2), 32, "armv7l")
    assert (check.status, check.exit_code) == (FAILED, 4)
    assert "64-bit" in check.fix


@pytest.fixture
def python(tmp_path):
    """Write a shell script that is run in the place of Python."""

    def make(*lines):
        path = str(tmp_path / "python")
        with open(path, "w") as file:
            file.write("\n".join(["#!/bin/sh", *lines, ""]))
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    return make


def facts(name, version, **more):
    return "echo '{}'".format(json.dumps([name, dict({"version": version, "file": "/x"}, **more)]))


def test_libraries_of_this_python():
    imports = wheels.import_libraries()
    import cv2
    import onnxruntime

    assert imports.death == ""
    assert imports.versions() == {
        "numpy": np.__version__, "cv2": cv2.__version__, "onnxruntime": onnxruntime.__version__,
    }  # fmt: skip
    for name in wheels.NEEDED:
        assert wheels.check_library(name, imports, jetson=False).status == OK


def test_a_crashing_import_is_named_and_the_rest_is_skipped(python):
    imports = wheels.import_libraries(python("kill -ILL $$"))
    numpy, opencv, runtime = (wheels.check_library(name, imports) for name in wheels.NEEDED)
    assert (numpy.status, numpy.exit_code) == (FAILED, 4)
    assert numpy.found == "importing it ended the process: Illegal instruction"
    assert "export OPENBLAS_CORETYPE=ARMV8" in numpy.fix
    assert opencv == Check("opencv", SKIPPED, "not imported, because numpy could not be")
    assert runtime.status == SKIPPED


def test_the_one_that_crashed_comes_after_those_that_did_not(python):
    crash = [facts("numpy", "2.1.0"), facts("cv2", "4.11.0", gstreamer=False), "kill -SEGV $$"]
    imports = wheels.import_libraries(python(*crash))
    statuses = [wheels.check_library(name, imports, (3, 11), jetson=False).status for name in wheels.NEEDED]
    assert statuses == [OK, OK, FAILED]
    check = wheels.check_library("onnxruntime", imports)
    assert "Segmentation fault" in check.found
    assert "--force-reinstall" in check.fix


def test_an_import_that_hangs(python):
    imports = wheels.import_libraries(python(facts("numpy", "2.1.0"), "exec sleep 20"), 0.3)
    assert wheels.check_library("cv2", imports).found == "importing it ended the process: no end within 0.3 s"


def test_a_library_that_is_absent():
    check = wheels.check_library(
        "cv2", wheels.Imports({"numpy": {}, "cv2": {"error": "ImportError: libGL.so.1\nmore"}}, "")
    )
    assert (check.status, check.exit_code) == (FAILED, 4)
    assert check.found == "cannot be imported (ImportError: libGL.so.1)"
    assert "requirements-device.txt" in check.fix


@pytest.mark.parametrize(
    ("name", "version", "python", "status", "said"),
    [
        ("numpy", "1.19.5", (3, 6), OK, "1.19.5"),
        ("numpy", "1.13.3", (3, 6), WARNING, "1.19.5 or newer and below 3"),
        ("numpy", "1.20.3", (3, 9), WARNING, "1.21 or newer and below 3"),
        ("numpy", "2.5.5", (3, 13), OK, "2.5.5"),
        ("numpy", "3.0.0rc1", (3, 13), WARNING, "3.0.0rc1; requirements-device.txt wants"),
        ("onnxruntime", "1.10.0", (3, 6), OK, "1.10.0"),
        ("onnxruntime", "1.10.0", (3, 8), WARNING, "1.14 or newer"),
        ("onnxruntime", "1.11.0+nv22", (3, 6), OK, "1.11.0+nv22"),
        ("cv2", "4.1.1", (3, 6), WARNING, "4.5.5 or newer"),
        ("cv2", "5.0.0-dev", (3, 12), OK, "5.0.0-dev without GStreamer"),
    ],
)
def test_versions_of_libraries_are_checked(name, version, python, status, said):
    imports = wheels.Imports({name: {"version": version, "file": "/x", "gstreamer": False}}, "")
    check = wheels.check_library(name, imports, python, "x86_64", None, False)
    assert check.status == status
    assert said in check.found


def test_versions_are_those_of_the_requirements():
    with open(os.path.join(ROOT, "requirements-device.txt")) as file:
        lines = [line.split(";") for line in file.read().splitlines() if line and not line.startswith("#")]
    for name, wheel in wheels.NEEDED.items():
        old, new = ([spec[len(wheel) :] for spec, marker in lines if spec.startswith(wheel) and sign in marker]
                    for sign in ("<", ">="))  # fmt: skip
        assert len(old) == len(new) == 1
        texts = [".".join(map(str, least)) for least in wheels.LEAST[name]]
        assert old[0].startswith("==" + texts[0])
        assert new[0] == ">=" + texts[1] + (",<3" if name == "numpy" else "")


@pytest.mark.parametrize(("machine", "coretype", "status"), [
    ("aarch64", None, WARNING), ("aarch64", "", WARNING), ("aarch64", "ARMV8", OK), ("x86_64", None, OK),
])  # fmt: skip
def test_numpy_that_dies_on_a_jetson(machine, coretype, status):
    imports = wheels.Imports({"numpy": {"version": "1.19.5", "file": "/x"}}, "")
    check = wheels.check_library("numpy", imports, (3, 6), machine, coretype, True)
    assert check.status == status
    assert ("OPENBLAS_CORETYPE=ARMV8" in check.fix) == (status == WARNING)


def test_opencv_on_a_jetson():
    own = wheels.Imports({"cv2": {"version": "4.1.1", "file": "/usr/lib/cv2", "gstreamer": True}}, "")
    assert wheels.check_library("cv2", own, (3, 6), jetson=True) == Check("opencv", OK, "4.1.1 with GStreamer")
    wheel = wheels.Imports({"cv2": {"version": "4.5.5", "file": "/venv/cv2", "gstreamer": False}}, "")
    check = wheels.check_library("cv2", wheel, (3, 6), jetson=True)
    assert check.status == WARNING
    assert "/venv/cv2" in check.found
    assert "pip uninstall opencv-python-headless" in check.fix
    assert "--system-site-packages" in check.fix


def test_a_jetson_is_known_by_its_name(monkeypatch):
    monkeypatch.setattr(wheels, "board_model", lambda: "NVIDIA Jetson Nano Developer Kit")
    assert wheels.is_jetson()
    monkeypatch.setattr(wheels, "board_model", lambda: None)
    assert wheels.is_jetson() == os.path.exists("/etc/nv_tegra_release")
