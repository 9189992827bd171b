"""Which cameras this machine seems to have. Nothing is opened."""

import os
import re
from typing import List, NamedTuple, Tuple

from device.cameras.csi import has_gstreamer
from device.cameras.picamera2 import import_picamera2
from device.errors import CameraError

READY = "ready"
# video nodes of a Raspberry Pi's own camera and codec: parts that make no picture alone, picamera2 puts them together
PI_NODES = ("bcm2835-codec", "bcm2835-isp", "unicam", "rp1-cfe", "pispbe", "rpi-hevc-dec", "rpivid")
JETSON_NODE = "vi-output"  # of a Jetson's CSI camera: raw Bayer data, Argus makes pictures of it


class Found(NamedTuple):
    """A camera, or a way to one."""

    uri: str
    """For --source."""
    name: str
    """Of the camera, as the system calls it."""
    usable: bool
    status: str
    """``ready``, or what is in the way and what to do."""


def list_cameras(sysfs: str = "/sys/class/video4linux", dev: str = "/dev") -> List[Found]:
    """Cameras by Video4Linux, then picamera2 and CSI: each of these two has at least one line, that tells what it lacks.

    Args:
        sysfs: where the kernel describes video nodes.
        dev: where their files are.
    """
    nodes = _nodes(sysfs)
    found = [_v4l2(number, name, dev) for number, name in nodes if not name.startswith((*PI_NODES, JETSON_NODE))]
    sensors = [name for _, name in nodes if name.startswith(JETSON_NODE)]
    return found + _picamera2() + _csi(sensors)


def _nodes(sysfs: str) -> List[Tuple[int, str]]:
    """Number and name of every node that is the first of its device; the others carry metadata (V4L2: attribute index)."""
    nodes = []
    for entry in os.listdir(sysfs) if os.path.isdir(sysfs) else []:
        number = entry[len("video") :]
        if (
            entry.startswith("video")
            and re.fullmatch("[0-9]{1,9}", number)
            and _text(sysfs, entry, "index") in ("", "0")
        ):
            nodes.append((int(number), _text(sysfs, entry, "name")))
    return sorted(nodes)


def _text(*path: str) -> str:
    try:
        with open(os.path.join(*path), errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _v4l2(number: int, name: str, dev: str) -> Found:
    node = os.path.join(dev, "video{}".format(number))
    status = READY
    if not os.path.exists(node):
        status = "found no {}; unplug the camera and plug it in again".format(node)
    elif not os.access(node, os.R_OK | os.W_OK):
        status = "this user may not open {}; run: sudo usermod -aG video $USER, and log in again".format(node)
    return Found("v4l2:///dev/video{}".format(number), name or "unnamed", status == READY, status)


def _picamera2() -> List[Found]:
    uri = "picamera2://?camera={}"
    try:
        cameras = import_picamera2().Picamera2.global_camera_info()
    except CameraError as error:
        return [Found(uri.format(0), "Raspberry Pi camera", False, str(error))]
    except Exception as error:  # libcamera's, when its service or the kernel's media nodes are not there
        return [Found(uri.format(0), "Raspberry Pi camera", False, "libcamera failed ({})".format(error))]
    # libcamera lists USB cameras too: they come through v4l2 above
    own = [(number, each) for number, each in enumerate(cameras) if "usb" not in str(each.get("Id", "")).lower()]
    if not own:
        return [
            Found(
                uri.format(0),
                "Raspberry Pi camera",
                False,
                "no camera is connected; check its ribbon cable, with the power off",
            )
        ]
    return [
        Found(uri.format(each.get("Num", number)), str(each.get("Model", "unnamed")), True, READY)
        for number, each in own
    ]


def _csi(sensors: List[str]) -> List[Found]:
    status = READY
    if not has_gstreamer():
        status = "this OpenCV has no GStreamer; use JetPack's own: uninstall opencv-python with pip, venv --system-site-packages"
    elif not sensors:
        status = "no CSI camera is connected; check its ribbon cable, with the power off"
    names = [name.partition(",")[2].strip() or name for name in sensors] or ["Jetson CSI camera"]
    return [
        Found("csi://?sensor={}".format(number), name, status == READY, status) for number, name in enumerate(names)
    ]
