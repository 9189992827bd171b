"""Cameras on a Jetson's CSI connectors, through NVIDIA's Argus and OpenCV's GStreamer."""

import re

import cv2

from device.cameras.base import options, size_option, whole_option
from device.cameras.capture import CaptureSource, open_capture
from device.cameras.live import LiveCamera
from device.cameras.live_source import PATIENCE, Patience
from device.errors import CameraError, UsageError

# the sensor's image in the GPU's memory -> scaled and turned by its video engine -> BGR for OpenCV; the last element holds
# one frame and throws away older ones (JetsonHacksNano/CSI-Camera, pull request 45: half a second of delay without)
PIPELINE = (
    "nvarguscamerasrc sensor-id={sensor} ! "
    "video/x-raw(memory:NVMM), width=(int){mode[0]}, height=(int){mode[1]}, format=(string)NV12, framerate=(fraction){rate}/1 ! "
    "nvvidconv flip-method={flip} ! "
    "video/x-raw, width=(int){size[0]}, height=(int){size[1]}, format=(string)BGRx ! "
    "videoconvert ! video/x-raw, format=(string)BGR ! "
    "appsink drop=true max-buffers=1 sync=false"
)
NO_GSTREAMER = (
    "this OpenCV ({}) was built without GStreamer, as all wheels of opencv-python are; expected JetPack's own OpenCV; "
    "uninstall opencv-python and opencv-python-headless with pip, and make the environment with: "
    "python3 -m venv --system-site-packages"
)


class CsiCamera(LiveCamera):
    """``csi://?sensor=0&size=640x480&rate=30&flip=0&mode=1280x720``: a camera on a Jetson, newest frame first.

    ``mode`` is the size that the sensor captures, ``size`` that of the frames; ``flip`` is nvvidconv's flip-method
    (0 as it is, 2 upside down). Not run on hardware; the pipeline is that of JetsonHacksNano/CSI-Camera.

    Raises:
        UsageError: an option that cannot work.
        CameraError: OpenCV has no GStreamer, or there is no such camera.
    """

    def __init__(self, rest: str, patience: Patience = PATIENCE) -> None:
        path, values = options(rest, {"sensor": "0", "size": "640x480", "rate": "30", "flip": "0", "mode": "1280x720"})
        if path.strip("/"):
            raise UsageError("found csi:{}; expected options alone, as in csi://?sensor=0".format(path))
        self._sensor = whole_option("sensor", values["sensor"], 0, 15)
        size = size_option(values["size"])
        if size[0] % 2 or size[1] % 2:
            raise UsageError("found size={}; expected even numbers, as in size=640x480".format(values["size"]))
        self._pipeline = PIPELINE.format(
            sensor=self._sensor,
            size=size,
            mode=size_option(values["mode"], "mode"),
            rate=whole_option("rate", values["rate"], 1, 1000),
            flip=whole_option("flip", values["flip"], 0, 7),
        )
        super().__init__("CSI camera {}".format(self._sensor), patience)

    def open_source(self) -> CaptureSource:
        if not has_gstreamer():
            raise CameraError(NO_GSTREAMER.format(cv2.__version__))
        capture = open_capture(self._pipeline, cv2.CAP_GSTREAMER)
        if not capture.isOpened():
            capture.release()
            raise CameraError("could not open CSI camera {}; expected a camera on that connector and a mode that it has; check its "
                              "ribbon cable, or restart NVIDIA's service with: sudo systemctl restart nvargus-daemon".format(
                                  self._sensor))  # fmt: skip
        return CaptureSource(capture)


def has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer."""
    return re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None
