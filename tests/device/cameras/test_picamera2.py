"""A fake of picamera2's interface (0.3.36: picamera2.py, request.py, job.py), as strict as the original where it matters."""

import sys
import threading
import time
import types

import cv2
import numpy as np
import pytest

from device.cameras.live_source import Patience
from device.cameras.open import open_camera
from device.cameras.picamera2 import Picamera2Camera
from device.errors import CameraError

QUICK = Patience(open_s=1.0, stall_s=0.3, pause_s=0.02, longest_pause_s=0.1, give_up_s=0.6)
RED = (200, 40, 20)
SENSOR_AGE_S = 0.05


class TimeoutError(Exception):
    """A class of its own, as concurrent.futures.TimeoutError was before Python 3.11."""


class FakeRequest:
    def __init__(self, camera):
        self.camera = camera
        self.references = 1
        camera.out += 1

    def make_array(self, name):
        assert self.references == 1
        chosen = self.camera.chosen[name]
        (width, height), stride = chosen["size"], chosen["stride"]
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[:] = RED
        if chosen["format"] == "YUV420":
            padded = np.zeros((height, stride, 3), np.uint8)
            padded[:, :width] = pixels
            padded[:, width:] = (0, 255, 0)
            return cv2.cvtColor(padded, cv2.COLOR_RGB2YUV_I420)
        return pixels if chosen["format"] == "BGR888" else np.ascontiguousarray(pixels[..., ::-1])

    def get_metadata(self):
        assert self.references == 1
        if self.camera.stamp == "none":
            return {"ExposureTime": 10000}
        return {"ExposureTime": 10000, "SensorTimestamp": int((time.monotonic() - SENSOR_AGE_S) * 1e9)}

    def release(self):
        assert self.references == 1
        self.references = 0
        self.camera.out -= 1


class Platform:
    def __init__(self, name):
        self.name = name


class FakePicamera2:
    platform = Platform("VC4")
    formats = {}
    stamp = "sensor"
    broken = None
    hangs = False
    align = 2
    opened = []

    def __init__(self, camera_num=0):
        if camera_num > 0:
            raise IndexError("list index out of range")
        if self.broken:
            raise RuntimeError(self.broken)
        self.camera_controls = {"FrameDurationLimits": (100, 1000000, None)}
        self.out = 0
        self.calls = []
        self.flushed = self.closed = False
        FakePicamera2.opened.append(self)

    def create_video_configuration(self, main, lores=None, controls=None, buffer_count=6, queue=True, **streams):
        assert streams == {"display": None, "encode": None}
        lores = lores and dict(lores)
        return {"main": dict(main), "lores": lores, "controls": controls, "buffer_count": buffer_count, "queue": queue}

    def configure(self, configuration):
        self.configuration = configuration
        self.chosen = {}
        for name in ("main", "lores"):
            asked = configuration[name]
            if asked is None:
                continue
            size = tuple(each - each % self.align for each in asked["size"])
            form = self.formats.get(name, asked["format"])
            if name == "lores":
                assert all(small <= large for small, large in zip(size, self.chosen["main"]["size"]))
                if self.platform.name == "VC4" and form != "YUV420":
                    raise RuntimeError("lores stream must be YUV")
            width = size[0] * (1 if form == "YUV420" else 3)
            self.chosen[name] = {"size": size, "format": form, "stride": width + -width % 64}
        self.calls.append("configure")

    def camera_configuration(self):
        return self.chosen

    def start(self):
        self.calls.append("start")

    def capture_request(self, wait=None, signal_function=None, flush=None):
        assert threading.current_thread() is not threading.main_thread()
        assert flush is None
        assert self.out == 0  # no buffer is kept
        if self.hangs:
            assert wait < QUICK.stall_s
            time.sleep(wait)
            raise TimeoutError
        time.sleep(0.01)
        return FakeRequest(self)

    def cancel_all_and_flush(self):
        self.flushed = True

    def close(self):
        assert not self.hangs or self.flushed
        self.closed = True


@pytest.fixture
def fake(monkeypatch):
    module = types.ModuleType("picamera2")
    module.Picamera2 = FakePicamera2
    monkeypatch.setitem(sys.modules, "picamera2", module)
    for name, value in (("opened", []), ("formats", {}), ("broken", None), ("hangs", False), ("stamp", "sensor"), ("align", 2),
                        ("platform", Platform("VC4"))):  # fmt: skip
        monkeypatch.setattr(FakePicamera2, name, value)
    return FakePicamera2


def near(pixels):
    return np.abs(pixels.astype(int) - RED).max() <= 4


def test_frames_are_rgb_and_carry_the_time_of_their_exposure(fake, capsys):
    with Picamera2Camera("//?size=640x480&rate=25", QUICK) as camera:
        frame = camera.read()
        assert camera.live
        assert camera.describe() == "Raspberry Pi camera 0"
        assert frame.pixels.shape == (480, 640, 3)
        assert near(frame.pixels)
        assert SENSOR_AGE_S <= time.monotonic() - frame.timestamp_s < 1
        asked = fake.opened[0].configuration
        assert asked["main"] == {"size": (640, 480), "format": "BGR888"}
        assert asked["lores"] is None
        assert asked["queue"] is False
        assert asked["controls"] == {"FrameDurationLimits": (40000, 40000)}
    assert fake.opened[0].closed
    assert fake.opened[0].out == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("rest", "main"),
    [("size=32x32", (640, 640)), ("size=250x100", (1250, 500)), ("size=320x240", (640, 480)),
     ("size=1280x720&lores=on", (1280, 720))],
)  # fmt: skip
def test_small_frames_come_from_the_low_resolution_stream(fake, rest, main):
    with Picamera2Camera("//?" + rest, QUICK) as camera:
        frame = camera.read()
        asked = fake.opened[0].configuration
        size = asked["lores"]["size"]
        assert asked["lores"]["format"] == "YUV420"  # a Raspberry Pi 4 has no other
        assert asked["main"]["size"] == main
        assert frame.pixels.shape == (size[1], size[0], 3)
        assert near(frame.pixels)  # the padding of the rows, which is green here, is cut off
        assert frame.pixels.flags.c_contiguous


def test_a_raspberry_pi_5_gives_small_frames_as_rgb(fake, monkeypatch):
    monkeypatch.setattr(fake, "platform", Platform("PISP"))
    with Picamera2Camera("//?size=64x48", QUICK) as camera:
        assert near(camera.read().pixels)
        assert fake.opened[0].configuration["lores"] == {"size": (64, 48), "format": "BGR888"}


def test_the_low_resolution_stream_can_be_left_alone(fake):
    with Picamera2Camera("//?size=64x48&lores=off", QUICK) as camera:
        assert camera.read().pixels.shape == (48, 64, 3)
        assert fake.opened[0].configuration["lores"] is None


def test_another_size_and_order_than_asked_for(fake, monkeypatch, capsys):
    monkeypatch.setattr(fake, "formats", {"main": "RGB888"})
    with Picamera2Camera("//?size=641x481", QUICK) as camera:
        frame = camera.read()
        assert frame.pixels.shape == (480, 640, 3)
        assert near(frame.pixels)
    assert capsys.readouterr().err == "warning: Raspberry Pi camera 0 chose size 640x480 (asked for 641x481)\n"


def test_a_format_that_is_none_of_ours(fake, monkeypatch):
    monkeypatch.setattr(fake, "formats", {"main": "MJPEG"})
    with pytest.raises(CameraError, match="it sends MJPEG"):
        open_camera("picamera2://")
    assert fake.opened[0].closed


def test_without_a_time_stamp_it_is_the_time_of_reading(fake, monkeypatch):
    monkeypatch.setattr(fake, "stamp", "none")
    before_s = time.monotonic()
    with Picamera2Camera("", QUICK) as camera:
        assert camera.read().timestamp_s >= before_s


def test_a_camera_whose_cable_came_loose(fake, capsys):
    with Picamera2Camera("", QUICK) as camera:
        camera.read()
        fake.opened[0].hangs = True
        while not camera.reopened:
            camera.read()
        assert fake.opened[0].flushed
        assert fake.opened[0].closed
    assert "Raspberry Pi camera 0 failed (it gave no frame for 0.24 s)" in capsys.readouterr().err


def test_no_camera_at_the_ribbon_cable_is_an_error(fake, monkeypatch):
    with pytest.raises(
        CameraError, match=r"could not open Raspberry Pi camera 3 \(list index out of range\).*rpicam-hello"
    ):
        open_camera("picamera2://?camera=3")
    monkeypatch.setattr(fake, "broken", "Camera(s) not found")
    with pytest.raises(CameraError, match=r"camera 0 \(Camera\(s\) not found\)"):
        open_camera("picamera2://")


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'picamera2'"), ValueError("numpy.dtype size changed\nmore")]
)
def test_picamera2_that_cannot_be_imported(monkeypatch, error):
    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "picamera2":
                raise error

    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(CameraError, match=r"apt install -y python3-picamera2.*--system-site-packages") as caught:
        open_camera("picamera2://")
    assert str(error).splitlines()[0] in str(caught.value)
    assert "\n" not in str(caught.value)
