"""Cameras and sources in every state, from fakes."""

import argparse
import time

import numpy as np
import pytest

from device.cameras.listing import READY, Found
from device.doctor import parts
from device.doctor.check import FAILED, OK, WARNING, guarded

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
def test_each_camera_problem_has_its_fix(monkeypatch, cameras, board, jetson, status, found, fix):
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


@pytest.mark.parametrize(
    ("shape", "labels", "words"),
    [((4, 3, 16, 16), None, "not that of the colours"), ((4, 16, 16, 3), [0, 1, 2, 99], "found label 99")],
)
def test_source_of_arrays_that_a_run_would_refuse(shape, labels, words, bundle_folder, tmp_path):
    arrays = {"frames": np.zeros(shape, np.uint8)}
    if labels is not None:
        arrays["labels"] = np.array(labels)
    np.savez(str(tmp_path / "f.npz"), **arrays)
    check = guarded("source", lambda: parts.check_source("npz:" + str(tmp_path / "f.npz"), bundle_folder), 4)
    assert (check.status, check.exit_code) == (FAILED, 3)
    assert words in check.found


def test_a_source_is_checked_although_the_bundle_is_broken(frames_file, tmp_path):
    assert parts.check_source("npz:" + frames_file, str(tmp_path)).status == OK


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
    monkeypatch.setattr("device.cameras.open.open_camera", lambda uri: FakeCamera())
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
