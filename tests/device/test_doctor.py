"""Every line of the report in every state, from fakes; and the whole command once for real."""

import argparse
import faulthandler
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from device import cli, doctor, engines
from device.board import Throttling
from device.cameras.listing import READY, Found
from device.doctor import Job, machine, parts, wheels
from device.doctor.check import FAILED, OK, SKIPPED, WARNING, Check, guarded, isolated
from device.engines import Probe, cache
from device.engines import open as opening
from device.errors import BundleError, HostError, UsageError
from tests.device.test_power import NANO, jetson_nano, nothing, write

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


# --- running a check


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


def test_a_check_that_hangs_is_ended_with_what_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr("device.doctor.check.GRACE_S", 0.1)
    mark = str(tmp_path / "alive")

    def hang():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.call(["sh", "-c", "sleep 0.8; touch '{}'".format(mark)])
        return fine()

    started_s = time.monotonic()
    check = isolated("x", hang, 4, 0.2)
    assert time.monotonic() - started_s < 3
    assert (check.status, check.exit_code) == (FAILED, 4)
    assert check.found == "found no end of this check within 0.2 s"
    time.sleep(0.8)
    assert not os.path.exists(mark)


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


# --- Python and its libraries


def test_python():
    assert wheels.check_python((3, 6, 9), 64, "aarch64") == Check("python", OK, "3.6.9, 64-bit, aarch64")
    check = wheels.check_python((3, 11, 2), 32, "armv7l")
    assert (check.status, check.exit_code) == (FAILED, 4)
    assert "64-bit" in check.fix


@pytest.fixture
def python(tmp_path):
    """Make an executable that stands for Python, from lines of shell."""

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
def test_versions(name, version, python, status, said):
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


# --- the board


def test_power(tmp_path):
    root = str(tmp_path)
    none = machine.check_power(root, nothing)
    assert (none.status, none.found) == (WARNING, "energy: unavailable; this machine shows no power sensor")
    assert "csv:FILE" in none.fix
    jetson_nano(root)
    check = machine.check_power(root, nothing)
    assert check.status == OK
    assert " 2.53 W (measured, " in check.found
    assert "--power ina3221" in check.found
    write(root, NANO + "in_power0_input", 0)
    dead = machine.check_power(root, nothing)
    assert dead.status == WARNING
    assert dead.found.startswith("energy: unavailable; found ")
    assert "reads 0 mW" in dead.found
    assert dead.fix == "check its wiring and whether this user may read it"


def test_clock():
    assert machine.check_clock(lambda: True).status == OK
    assert machine.check_clock(lambda: None).status == SKIPPED
    check = machine.check_clock(lambda: False)
    assert check.status == WARNING
    assert "set-ntp true" in check.fix


@pytest.mark.parametrize(
    ("now", "since_boot", "found", "fixes"),
    [
        (("under-voltage",), (), "under-voltage: the supply", ["power supply"]),
        ((), ("throttled",), "throttled since boot: the chip", ["cool"]),
        (("under-voltage", "soft temperature limit"), ("under-voltage",), "soft temperature limit: the chip", ["power supply", "cool"]),
        (("frequency capped",), (), "the clock is held down", ["cool", "power supply"]),
        ((), ("average over-current",), "average over-current since boot: the board draws", ["nvpmodel"]),
        (("cpufreq-cpu0",), (), "cpufreq-cpu0: the chip", ["cool"]),
    ],
)  # fmt: skip
def test_throttling(now, since_boot, found, fixes):
    check = machine.check_throttling(lambda: Throttling("vcgencmd get_throttled", now, since_boot))
    assert check.status == WARNING
    assert found in check.found
    assert all(fix in check.fix for fix in fixes)


def test_throttling_of_a_board_at_full_speed_and_of_one_that_does_not_tell():
    full = machine.check_throttling(lambda: Throttling("vcgencmd get_throttled", (), ()))
    assert full == Check("throttling", OK, "none (vcgencmd get_throttled)")
    assert machine.check_throttling(lambda: Throttling(None, (), ())).status == SKIPPED


@pytest.mark.parametrize(("celsius", "status"), [(None, SKIPPED), (48.3, OK), (84.6, WARNING)])
def test_temperature(celsius, status):
    check = machine.check_temperature(lambda: celsius)
    assert check.status == status
    assert bool(check.fix) == (status == WARNING)


def test_disk(tmp_path, monkeypatch):
    free = {str(tmp_path): 20e9, "/": 0.2e9}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: argparse.Namespace(free=free[folder]))
    absent = str(tmp_path / "not" / "there")
    assert machine.free_space([absent]) == Check("disk", OK, "20.0 GB free in {}".format(tmp_path))
    check = machine.free_space([absent, "/"])
    assert (check.status, check.found) == (WARNING, "0.2 GB free in /")


def test_disk_of_the_cache(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(parts, "free_space", asked.append)
    monkeypatch.setenv("DEFQ_ENGINES", str(tmp_path))
    parts.check_disk()
    assert asked == [[os.getcwd(), str(tmp_path)]]


@pytest.mark.parametrize(("available", "status"), [(3000000, OK), (100000, WARNING), (None, SKIPPED)])
def test_memory(tmp_path, available, status):
    if available is not None:
        write(tmp_path, "proc/meminfo", "MemTotal:  4000000 kB\nMemFree: 5 kB\nMemAvailable:  {} kB".format(available))
    check = machine.check_memory(str(tmp_path))
    assert check.status == status
    if status == OK:
        assert check.found == "3072 of 4096 MB available"


# --- bundle and engine


def test_bundle(bundle_folder, gated_folder):
    check = parts.check_bundle(bundle_folder)
    assert check.status == WARNING
    assert check.found.startswith(
        "tiny-split2-46536706, 7 files (0.05 MB) as exported, exits 1 to 2 of 5 on the device, RAD 5 and 10 %"
    )
    assert "no frame set" in check.found
    assert ", gate, no monitor (for --defq auto)" in check.found
    assert check.fix == "python -m export monitor --model tiny, and export the bundle again"


def test_bundle_with_nothing_missing(bundle_folder, monkeypatch):
    import device.bundle
    import device.frame_set

    whole = device.bundle.load_bundle(bundle_folder)
    whole.manifest["frames"] = {"file": "frames.npz"}
    monkeypatch.setattr(device.bundle, "load_bundle", lambda path: whole._replace(gate=object(), monitor={5: object()}))
    monkeypatch.setattr(device.frame_set, "load_frame_set", lambda bundle: argparse.Namespace(labels=[0] * 300))
    check = parts.check_bundle(bundle_folder)
    assert (check.status, check.fix) == (OK, "")
    assert check.found.endswith(", 300 frames of each kind, gate, monitor")


@pytest.mark.parametrize("name", ["head_flat.onnx", "tail.onnx", "labels.txt"])
def test_every_file_of_the_bundle_is_checked(bundle_folder, name):
    with open(os.path.join(bundle_folder, name), "ab") as file:
        file.write(b"x")
    check = guarded("bundle", lambda: parts.check_bundle(bundle_folder), 3)
    assert (check.status, check.exit_code) == (FAILED, 3)
    assert name in check.found
    assert check.fix.endswith("copy the whole bundle again")


def test_a_bundle_of_another_version(bundle_folder):
    path = os.path.join(bundle_folder, "manifest.json")
    with open(path) as file:
        manifest = json.load(file)
    with open(path, "w") as file:
        json.dump(dict(manifest, format_version=9), file)
    check = guarded("bundle", lambda: parts.check_bundle(bundle_folder), 3)
    assert (check.status, check.exit_code) == (FAILED, 3)
    assert "found format version 9" in check.found
    assert "reads version 1" in check.found


def test_engine_is_run(bundle_folder):
    check = parts.check_engine(bundle_folder)
    assert check.status == OK
    assert check.found.startswith("onnxruntime CPU, ")
    assert " ms for a frame that leaves at exit 1, " in check.found
    assert "(medians of 21); not here: onnxruntime-cuda, onnxruntime-tensorrt, tensorrt" in check.found


def test_back_ends_without_a_bundle():
    check = parts.check_engine(None)
    assert check.status == OK
    assert check.found.startswith("ONNX Runtime with ")
    assert "CPU" in check.found
    assert check.found.endswith("not run: add --bundle DIR")


@pytest.fixture
def probes(monkeypatch):
    """Let the engines be like this: name -> status, the usable ones with a plus in front."""

    def set_to(**statuses):
        found = [
            Probe(name.replace("_", "-"), text.lstrip("+"), text.startswith("+")) for name, text in statuses.items()
        ]
        monkeypatch.setattr(engines, "probe_engines", lambda bundle: found)

    return set_to


def test_no_engine_can_run_the_head(bundle_folder, probes):
    probes(onnxruntime="found opset 20; expected 15; export again", tensorrt="found none")
    check = parts.check_engine(bundle_folder)
    assert check == Check("engine", FAILED, "found opset 20; expected 15", "export again", 4)


def test_an_engine_that_would_have_to_be_built_is_not(bundle_folder, probes, monkeypatch, tmp_path):
    monkeypatch.setattr(engines, "open_engine", lambda *_: pytest.fail("this takes minutes"))
    monkeypatch.setenv("DEFQ_ENGINES", str(tmp_path))
    probes(onnxruntime="+CPU", tensorrt="+TensorRT 8.2.1 on Tegra X1, " + opening._kept("x.engine"))
    check = parts.check_engine(bundle_folder)
    assert check.status == WARNING
    assert check.found.startswith("tensorrt: TensorRT 8.2.1 on Tegra X1, engine not built yet")
    assert "--engine tensorrt" in check.fix


def test_an_engine_that_was_built_is_run(bundle_folder, probes, monkeypatch, tmp_path):
    monkeypatch.setenv("DEFQ_ENGINES", str(tmp_path))
    cache.store("x.engine", b"plan")
    probes(onnxruntime="+CPU", tensorrt="+TensorRT 8.2.1 on Tegra X1, " + opening._kept("x.engine"))
    opened = []

    def open_engine(bundle, name):
        opened.append(name)
        print(
            "warning: found a wrong answer; use --engine onnxruntime; until then the head runs in CPU", file=sys.stderr
        )
        return engines.OnnxRuntimeEngine(bundle, 1)

    monkeypatch.setattr(engines, "open_engine", open_engine)
    check = parts.check_engine(bundle_folder)
    assert opened == ["tensorrt"]
    assert check.status == WARNING
    assert check.found.endswith("; the GPU stays idle: found a wrong answer")
    assert check.fix == "use --engine onnxruntime"


def test_a_jetson_without_its_gpu(bundle_folder, probes, monkeypatch):
    monkeypatch.setattr(parts, "is_jetson", lambda: True)
    probes(onnxruntime="+CPU", tensorrt="found no TensorRT for this Python; install it")
    check = parts.check_engine(bundle_folder)
    assert check.status == WARNING
    assert check.found.endswith("; the GPU stays idle: found no TensorRT for this Python")
    assert check.fix == "install it"


# --- cameras and sources

USB = Found("v4l2:///dev/video0", "HD Webcam", True, READY)
CLOSED = USB._replace(
    uri="v4l2:///dev/video2",
    usable=False,
    status="this user may not open /dev/video2; run: sudo usermod -aG video $USER",
)
PI = Found("picamera2://?camera=0", "Raspberry Pi camera", False, "could not import picamera2; install it")
CSI = Found("csi://?sensor=0", "Jetson CSI camera", False, "no CSI camera is connected; check its ribbon cable")


@pytest.mark.parametrize(
    ("cameras", "board", "jetson", "status", "found", "fix"),
    [
        ([USB, PI, CSI], "a PC", False, OK, "v4l2:///dev/video0 (HD Webcam)", ""),
        ([PI, CSI], "a PC", False, WARNING, "none found", "dir:PATH"),
        ([PI, CSI], "Raspberry Pi 5 Model B", False, WARNING, "none found; picamera2://?camera=0: could not import", "install it"),
        ([PI, CSI], "NVIDIA Jetson Nano", True, WARNING, "none found; csi://?sensor=0: no CSI", "ribbon"),
        ([USB, PI, CSI], "Raspberry Pi 5 Model B", False, OK, "HD Webcam", ""),
        ([USB, CLOSED, PI, CSI], "a PC", False, WARNING, "(HD Webcam); v4l2:///dev/video2: this user may not", "usermod -aG video"),
        ([CLOSED, PI, CSI], "a PC", False, WARNING, "none found; v4l2:///dev/video2", "usermod -aG video"),
    ],
)  # fmt: skip
def test_cameras(monkeypatch, cameras, board, jetson, status, found, fix):
    monkeypatch.setattr(parts, "is_jetson", lambda: jetson)
    check = parts.cameras_line(cameras, board)
    assert check.status == status
    assert found in check.found
    assert fix in check.fix
    assert bool(fix) == bool(check.fix)


def test_cameras_of_this_machine():
    assert parts.check_cameras().status in (OK, WARNING)


def test_source_of_files(frames_file):
    check = parts.check_source("npz:" + frames_file, None)
    assert check.status == OK
    assert ": 16x16 RGB after " in check.found
    assert "old" not in check.found


class FakeCamera:
    live = True
    frame = argparse.Namespace(pixels=np.zeros((480, 640), np.uint8), timestamp_s=0.0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def describe(self):
        return "camera /dev/video0"

    def read(self):
        if self.frame is not None:
            self.frame.timestamp_s = time.monotonic() - 0.04
        return self.frame


def test_source_of_a_live_camera(monkeypatch):
    monkeypatch.setattr("device.cameras.open_camera", lambda uri: FakeCamera())
    check = parts.check_source("v4l2:///dev/video0", None)
    assert check.found.startswith("camera /dev/video0: 640x480 grey after 0.0 s, 4")
    assert check.found.endswith(" ms old")
    monkeypatch.setattr(FakeCamera, "frame", None)
    check = guarded("source", lambda: parts.check_source("v4l2:///dev/video0", None), 4)
    assert (check.status, check.exit_code) == (FAILED, 4)
    assert "found no frame in camera /dev/video0" in check.found


@pytest.mark.parametrize(("uri", "code"), [("v4l2:///dev/video77", 4), ("dir:/not/there", 3), ("tape:x", 2)])
def test_source_that_cannot_be_opened(uri, code):
    check = guarded("source", lambda: parts.check_source(uri, None), 4)
    assert (check.status, check.exit_code) == (FAILED, code)


def test_source_of_the_bundle(bundle_folder):
    check = guarded("source", lambda: parts.check_source("bundle:clean", bundle_folder), 4)
    assert check.status == FAILED
    assert "found no frame set in bundle" in check.found


# --- host


def test_host(fake_host, bundle_folder, bundle):
    check = parts.check_host(fake_host.url, bundle_folder)
    assert check.status == OK
    assert check.found.startswith("{} serves this bundle: ".format(fake_host.url))
    assert "(median of 5), " in check.found
    assert int(check.found.split(", ")[1].split()[0]) > 4 * np.prod(bundle.activation_shape)
    assert fake_host.requests == 5


def test_host_that_is_absent(bundle_folder):
    check = parts.check_host("http://127.0.0.1:9", bundle_folder)
    assert (check.status, check.exit_code) == (FAILED, 5)
    assert check.found.startswith("found no host at http://127.0.0.1:9 (")
    assert "--address 0.0.0.0" in check.fix


@pytest.mark.parametrize(
    ("mode", "said"),
    [("silent", "no answer within 0.3 s"), ("status_500", "status 500: the engine failed"), ("not_http", "not HTTP"),
     ("out_of_range", "found HostAnswer")],
)  # fmt: skip
def test_host_that_does_not_answer_as_it_should(fake_host, bundle_folder, monkeypatch, mode, said):
    monkeypatch.setattr(parts, "HOST_TIMEOUT_S", 0.3)
    fake_host.mode = mode
    check = parts.check_host(fake_host.url, bundle_folder)
    assert (check.status, check.exit_code) == (FAILED, 5)
    assert said in check.found
    assert check.found.startswith("lost the host at ")
    assert "frames are answered" not in check.found


def test_host_of_another_bundle(fake_host, bundle_folder):
    fake_host.mode = "wrong_model"
    check = guarded("host", lambda: parts.check_host(fake_host.url, bundle_folder), 5)
    assert (check.status, check.exit_code) == (FAILED, 3)
    assert "does not serve bundle tiny-split2-46536706" in check.found


def test_host_address_that_is_none(bundle_folder):
    assert guarded("host", lambda: parts.check_host("ftp://x", bundle_folder), 5).exit_code == 2


# --- the whole report

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
    checks = doctor.examine([Job("clock", (), lambda: Check("clock", OK, "fine"))], GOOD, told.append)
    assert checks == told
    assert [check.name for check in checks] == ["python", "numpy", "opencv", "onnxruntime", "clock"]


def test_what_needs_a_failed_line_is_skipped():
    def never():
        pytest.fail("ran")

    lines = [Job("engine", ("numpy", "onnxruntime"), never), Job("memory", (), lambda: Check("memory", OK, "fine"))]
    checks = {check.name: check for check in doctor.examine(lines, ABSENT)}
    assert checks["engine"] == Check("engine", SKIPPED, "needs numpy and onnxruntime first")
    assert checks["memory"].status == OK
    assert doctor.exit_code(list(checks.values())) == 4


def test_a_bundle_that_was_not_named_is_no_failure():
    lines = [
        Job("bundle", (), lambda: Check("bundle", SKIPPED, "")),
        Job("engine", ("bundle",), lambda: Check("engine", OK, "")),
    ]
    assert doctor.examine(lines, GOOD)[-1].status == OK
    lines[0] = Job("bundle", (), raising(BundleError("found none")))
    assert doctor.examine(lines, GOOD)[-1].found == "needs bundle first"


def test_exit_code_is_that_of_the_first_failure():
    warning = Check("clock", WARNING, "", "", 9)
    assert doctor.exit_code([fine(), warning]) == 0
    assert doctor.exit_code([warning, Check("bundle", FAILED, "", "", 3), Check("host", FAILED, "", "", 5)]) == 3


@pytest.mark.parametrize(("error", "code"), [(BundleError("x"), 3), (HostError("x"), 5), (KeyError("x"), 1)])
def test_exit_codes_of_errors(error, code):
    assert doctor.exit_code([isolated("x", raising(error), 1, 5)]) == code


def test_text():
    assert doctor.text(Check("clock", OK, "fine")) == "clock        ok       fine"
    assert doctor.text(Check("onnxruntime", FAILED, "x", "do y")) == "onnxruntime  FAILED   x\n             fix: do y"
    assert doctor.text(Check("host", WARNING, "x"), colour=True) == "host         \033[33mwarning\033[0m  x"


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
        doctor._print(Check("temperature", OK, "48 °C"))
        assert (b"\033[32m" in raw.getvalue()) == coloured
        assert b"48 ?C" in raw.getvalue()  # the locale of a service


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
    code = "import device.doctor, sys; print({'numpy', 'cv2', 'onnxruntime'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT) == b"set()\n"


def doctor_process(*options):
    done = subprocess.run(
        [sys.executable, "-m", "device", "doctor", *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_command(bundle_folder, fake_host, frames_file):
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
    report = json.loads(out)
    assert code == report["exit_code"] == 5
    assert (report["format"], report["format_version"]) == ("sdn-edge-doctor", 1)
    assert set(report["versions"]) == {"device", "python", "numpy", "opencv", "onnxruntime"}
    assert report["versions"]["numpy"] == np.__version__
    checks = {check["name"]: check for check in report["checks"]}
    assert set(checks["host"]) == {"name", "status", "found", "fix"}
    assert checks["host"]["status"] == FAILED
    assert checks["python"]["fix"] is None
    assert error == ""
