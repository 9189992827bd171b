"""USB and CSI cameras: both go through cv2.VideoCapture, of which this has a fake."""

import re
import threading
import time

import cv2
import numpy as np
import pytest

from device.cameras import csi, v4l2
from device.cameras.live_source import Patience
from device.cameras.open import open_camera
from device.errors import CameraError

QUICK = Patience(open_s=1.0, stall_s=0.3, pause_s=0.02, longest_pause_s=0.1, give_up_s=0.5)


class FakeCapture:
    """cv2.VideoCapture of a camera that takes any size but keeps its own rate. ``plans``: of each camera that is opened
    its frames (True, False for an empty one), after which it is unplugged; None: it cannot be opened."""

    plans = []
    opened = []

    def __init__(self, source, backend):
        self.opened_with = (source, backend)
        self.plan = FakeCapture.plans.pop(0) if FakeCapture.plans else [True] * 3
        self.calls = []
        self.values = {cv2.CAP_PROP_POS_MSEC: 0}
        self.released = threading.Event()
        FakeCapture.opened.append(self)

    def isOpened(self):
        return self.plan is not None

    def set(self, setting, value):
        self.calls.append(setting)
        self.values[setting] = 15 if setting == cv2.CAP_PROP_FPS else value
        return True

    def get(self, setting):
        return self.values[setting]

    def read(self):
        assert not self.released.is_set()
        self.values[cv2.CAP_PROP_POS_MSEC] = (time.monotonic() - 0.04) * 1e3
        if self.plan and self.plan.pop(0):
            pixels = np.zeros((8, 8, 3), np.uint8)
            pixels[..., 0] = 255  # OpenCV's order: blue, green, red
            return True, pixels
        return False, None

    def release(self):
        self.released.set()


@pytest.fixture
def fake_capture(monkeypatch):
    monkeypatch.setattr(v4l2.cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "plans", [])
    monkeypatch.setattr(FakeCapture, "opened", [])
    monkeypatch.setattr(v4l2, "_check_device", lambda name: None)
    return FakeCapture


def test_v4l2_asks_for_mjpg_first_and_reads_back(fake_capture, capsys):
    fake_capture.plans = [[True] * 1000]
    with open_camera("v4l2:///dev/video3?size=320x240&rate=30") as camera:
        assert camera.live
        frame = camera.read()
        assert frame.pixels[0, 0].tolist() == [0, 0, 255]  # blue, in RGB
        assert camera.describe() == "camera /dev/video3"
        capture = fake_capture.opened[0]
        assert capture.opened_with == (3, cv2.CAP_V4L2)
        assert capture.calls == [
            cv2.CAP_PROP_FOURCC,
            cv2.CAP_PROP_FRAME_WIDTH,
            cv2.CAP_PROP_FRAME_HEIGHT,
            cv2.CAP_PROP_FPS,
            cv2.CAP_PROP_BUFFERSIZE,
        ]
        assert capture.values[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    assert capture.released.wait(5)
    assert capsys.readouterr().err.splitlines()[0] == "warning: /dev/video3 chose rate 15 (asked for 30)"


def test_v4l2_tells_when_a_frame_was_exposed(fake_capture):
    with v4l2.V4L2Camera("///dev/video0", QUICK) as camera:
        frame = camera.read()
        assert 0.03 < time.monotonic() - frame.timestamp_s < 1


def test_v4l2_unplugged_and_plugged_in_again(fake_capture, capsys):
    fake_capture.plans = [[True, True], None, [False, True, False, False, True] + [True] * 3]
    with v4l2.V4L2Camera("///dev/video0", QUICK) as camera:
        while not camera.reopened:
            camera.read()
        assert all(each.released.is_set() for each in fake_capture.opened[:2])
        last = fake_capture.opened[2]
        assert last.calls[0] == cv2.CAP_PROP_FOURCC  # set up anew
    err = capsys.readouterr().err
    assert err.count("chose rate 15") == 1
    assert "warning: camera /dev/video0 failed (it gave empty frames, as when it is unplugged)" in err
    assert "camera /dev/video0 is back after" in err


def test_v4l2_that_stays_away(fake_capture):
    fake_capture.plans = [[True], *[None] * 50]
    with v4l2.V4L2Camera("///dev/video0", QUICK) as camera:
        assert camera.read().index == 0
        with pytest.raises(CameraError, match=r"no frame from camera /dev/video0 for .*\(could not open /dev/video0\)"):
            camera.read()


def test_a_usb_camera_in_use_is_an_error(fake_capture):
    fake_capture.plans = [None]
    with pytest.raises(CameraError, match="no other program uses"):
        open_camera("v4l2:///dev/video0")
    assert fake_capture.opened[0].released.is_set()


def test_v4l2_by_a_name_that_stays(fake_capture, tmp_path):
    (tmp_path / "by-id").symlink_to("/dev/video7")
    with v4l2.V4L2Camera("//" + str(tmp_path / "by-id"), QUICK):
        assert fake_capture.opened[0].opened_with == (7, cv2.CAP_V4L2)
    with v4l2.V4L2Camera("///dev/videoX", QUICK):
        assert fake_capture.opened[1].opened_with == ("/dev/videoX", cv2.CAP_V4L2)


def test_v4l2_absent_or_not_allowed(tmp_path, monkeypatch):
    with pytest.raises(CameraError, match="found no /nowhere/video0; expected a camera"):
        open_camera("v4l2:///nowhere/video0")
    monkeypatch.setattr(v4l2.os, "access", lambda name, mode: False)
    (tmp_path / "video0").touch()
    with pytest.raises(CameraError, match=r"sudo usermod -aG video \$USER"):
        open_camera("v4l2://{}/video0".format(tmp_path))


def build_information(gstreamer):
    return "  Video I/O:\n    FFMPEG:                      YES\n    GStreamer:                   {}\n".format(gstreamer)


@pytest.fixture
def with_gstreamer(fake_capture, monkeypatch):
    monkeypatch.setattr(csi.cv2, "getBuildInformation", lambda: build_information("YES (1.14.5)"))
    return fake_capture


def test_the_gstreamer_pipeline_of_a_csi_camera(with_gstreamer):
    with csi.CsiCamera("//?sensor=1&size=320x240&rate=60&flip=2&mode=1640x1232", QUICK) as camera:
        frame = camera.read()
        assert frame.pixels[0, 0].tolist() == [0, 0, 255]
        assert time.monotonic() - frame.timestamp_s < 0.03 or frame.index > 0  # the stream's position is no time stamp
        assert camera.describe() == "CSI camera 1"
    pipeline, backend = with_gstreamer.opened[0].opened_with
    assert backend == cv2.CAP_GSTREAMER
    elements = [element.strip() for element in pipeline.split("!")]
    assert [re.split("[ (,]", element)[0] for element in elements] == [
        "nvarguscamerasrc", "video/x-raw", "nvvidconv", "video/x-raw", "videoconvert", "video/x-raw", "appsink"
    ]  # fmt: skip
    assert elements[0].endswith("sensor-id=1")
    assert "width=(int)1640, height=(int)1232" in elements[1]
    assert "framerate=(fraction)60/1" in elements[1]
    assert elements[2].endswith("flip-method=2")
    assert "width=(int)320, height=(int)240" in elements[3]
    assert elements[6] == "appsink drop=true max-buffers=1 sync=false"


def test_csi_with_the_opencv_of_pip(fake_capture, monkeypatch):
    monkeypatch.setattr(csi.cv2, "getBuildInformation", lambda: build_information("NO"))
    with pytest.raises(
        CameraError, match="without GStreamer, as all wheels of opencv-python are.*--system-site-packages"
    ):
        open_camera("csi://")
    assert fake_capture.opened == []


def test_csi_without_a_camera(with_gstreamer):
    with_gstreamer.plans = [None]
    with pytest.raises(CameraError, match="could not open CSI camera 0.*nvargus-daemon"):
        open_camera("csi://?sensor=0")
