"""The list of cameras of a machine, from fakes of its device files and programs."""

import os
import sys
import types

import pytest

from device.cameras import csi, listing
from device.cameras.listing import Found, list_cameras


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Make video nodes as the kernel does: name -> (index, whether /dev has it)."""
    monkeypatch.setitem(sys.modules, "picamera2", None)  # as if it were not installed
    monkeypatch.setattr(csi.cv2, "getBuildInformation", lambda: "    GStreamer:                   NO\n")

    def make(*nodes):
        sysfs, dev = tmp_path / "video4linux", tmp_path / "dev"
        dev.mkdir()
        for number, name, index, there in nodes:
            node = sysfs / "video{}".format(number)
            node.mkdir(parents=True)
            (node / "name").write_text(name + "\n")
            (node / "index").write_text("{}\n".format(index))
            if there:
                (dev / "video{}".format(number)).touch()
        return list_cameras(str(sysfs), str(dev))

    return make


def pi(monkeypatch, cameras):
    module = types.ModuleType("picamera2")

    class Picamera2:
        @staticmethod
        def global_camera_info():
            if isinstance(cameras, Exception):
                raise cameras
            return cameras

    module.Picamera2 = Picamera2
    monkeypatch.setitem(sys.modules, "picamera2", module)


def test_usb_cameras_in_order_without_their_metadata_nodes(machine):
    found = machine(
        (10, "Webcam B: Webcam B", 0, True),
        (2, "HD Pro Webcam C920", 0, True),
        (3, "HD Pro Webcam C920", 1, True),
        (4, "Gone", 0, False),
    )
    assert found[0] == Found("v4l2:///dev/video2", "HD Pro Webcam C920", True, "ready")
    assert [each.uri for each in found[1:3]] == ["v4l2:///dev/video4", "v4l2:///dev/video10"]
    assert not found[1].usable
    assert "found no" in found[1].status
    assert [each.uri for each in found[3:]] == ["picamera2://?camera=0", "csi://?sensor=0"]


def test_a_camera_that_this_user_may_not_open(machine, monkeypatch):
    access = os.access
    monkeypatch.setattr(listing.os, "access", lambda name, mode: "video0" not in name and access(name, mode))
    found = machine((0, "Webcam", 0, True))
    assert not found[0].usable
    assert "usermod -aG video" in found[0].status


def test_a_machine_without_cameras_says_so(machine):
    found = machine()
    assert [(each.uri, each.usable) for each in found] == [("picamera2://?camera=0", False), ("csi://?sensor=0", False)]
    assert "apt install -y python3-picamera2" in found[0].status
    assert "no GStreamer" in found[1].status


def test_cameras_of_a_raspberry_pi_are_listed(machine, monkeypatch):
    pi(monkeypatch, [
        {"Model": "imx708", "Location": 2, "Rotation": 180, "Id": "/base/axi/pcie@120000/rp1/i2c@80000/imx708@1a", "Num": 0},
        {"Model": "HD Pro Webcam", "Id": "/base/scb/pcie@7d500000/pci@0,0/usb@0,0-1:1.0-046d:082d", "Num": 1},
    ])  # fmt: skip
    found = machine(
        (0, "rp1-cfe-csi2_ch0", 0, True), (1, "rp1-cfe-fe_image0", 0, True), (19, "rpi-hevc-dec", 0, True),
        (20, "pispbe-input", 0, True), (30, "HD Pro Webcam", 0, True),
    )  # fmt: skip
    assert found[:2] == [
        Found("v4l2:///dev/video30", "HD Pro Webcam", True, "ready"),
        Found("picamera2://?camera=0", "imx708", True, "ready"),
    ]


@pytest.mark.parametrize(
    ("cameras", "status"), [([], "no camera is connected"), (RuntimeError("no media device"), "no media device")]
)
def test_a_raspberry_pi_without_a_camera(machine, monkeypatch, cameras, status):
    pi(monkeypatch, cameras)
    found = machine()
    assert not found[0].usable
    assert status in found[0].status


def test_csi_cameras_of_a_jetson_are_listed(machine, monkeypatch):
    monkeypatch.setattr(csi.cv2, "getBuildInformation", lambda: "    GStreamer:                   YES (1.14.5)\n")
    found = machine((0, "vi-output, imx219 7-0010", 0, True), (1, "vi-output, imx219 8-0010", 0, True))
    assert [each for each in found if each.uri.startswith("csi")] == [
        Found("csi://?sensor=0", "imx219 7-0010", True, "ready"),
        Found("csi://?sensor=1", "imx219 8-0010", True, "ready"),
    ]
    assert not any(each.uri.startswith("v4l2") for each in found)  # raw Bayer data


def test_a_jetson_without_a_camera(machine, monkeypatch):
    monkeypatch.setattr(csi.cv2, "getBuildInformation", lambda: "    GStreamer:                   YES (1.14.5)\n")
    found = machine()
    assert "no CSI camera is connected" in found[-1].status


def test_nothing_is_opened(machine, monkeypatch):
    monkeypatch.setattr(csi.cv2, "VideoCapture", None)
    machine((0, "Webcam", 0, True))
