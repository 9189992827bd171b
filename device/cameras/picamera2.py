"""Cameras of a Raspberry Pi, through picamera2 and libcamera."""

import sys
from typing import Any, Dict, Tuple

import cv2
import numpy as np

from device.cameras.base import options, size_option, whole_option
from device.cameras.clock import exposure_s
from device.cameras.live import LiveCamera
from device.cameras.live_source import PATIENCE, NoFrame, Patience, Shot, Source
from device.errors import CameraError, UsageError

SMALL = 320 * 240  # frames up to this many pixels come from the low-resolution stream
LEAST_MAIN = (640, 480)  # of the main stream beside it: the sensor's modes are chosen for this one
NOT_INSTALLED = (
    "could not import picamera2 ({}); expected Raspberry Pi OS's own package, which pip does not have whole; install it with: "
    "sudo apt install -y python3-picamera2 --no-install-recommends, and make the environment with: "
    "python3 -m venv --system-site-packages"
)


class Picamera2Camera(LiveCamera):
    """``picamera2://?size=640x480&rate=30&camera=0&lores=auto``: a Raspberry Pi's camera, newest frame first.

    One request a frame: its pixels and its metadata belong together, and its SensorTimestamp is the frame's time.
    picamera2 keeps no finished frame back (queue=False), so that a request is always the newest; capture_request(flush=True)
    would also throw away the frame that is being exposed, and with it half of the rate.

    ``lores``: auto takes frames of up to 320x240 from the low-resolution stream, which the image processor scales and whose
    few pixels alone are copied; the main stream beside it is a multiple of it, so that it shows the same view. on, off.

    Source: picamera2 0.3.36, picamera2.py and request.py. Not run on hardware.

    Raises:
        UsageError: an option that cannot work.
        CameraError: picamera2 is not installed, or there is no such camera.
    """

    def __init__(self, rest: str, patience: Patience = PATIENCE) -> None:
        path, values = options(rest, {"size": "640x480", "rate": "30", "camera": "0", "lores": "auto"})
        if path.strip("/"):
            raise UsageError("found picamera2:{}; expected options alone, as in picamera2://?camera=0".format(path))
        if values["lores"] not in ("auto", "on", "off"):
            raise UsageError("found lores={}; expected auto, on or off".format(values["lores"]))
        self._size = size_option(values["size"])
        self._rate = whole_option("rate", values["rate"], 1, 1000)
        self._number = whole_option("camera", values["camera"], 0, 15)
        self._lores = values["lores"] == "on" or (values["lores"] == "auto" and self._size[0] * self._size[1] <= SMALL)
        self._limit_s = 0.8 * patience.stall_s  # picamera2 gives up a little before the reader loses patience
        self._told = False
        super().__init__("Raspberry Pi camera {}".format(self._number), patience)

    def open_source(self) -> "RequestSource":
        library = import_picamera2()
        camera = None
        try:
            camera = library.Picamera2(self._number)
            camera.configure(self._configuration(camera))
            camera.start()
            source = RequestSource(camera, "lores" if self._lores else "main", self._limit_s)
        except Exception as error:  # RuntimeError and IndexError, but the library promises none
            if camera is not None:
                camera.close()
            raise CameraError("could not open Raspberry Pi camera {} ({}); expected one that no other program uses; list what is there "
                              "with: rpicam-hello --list-cameras".format(
                                  self._number, str(error) or type(error).__name__)) from error  # fmt: skip
        if source.size != self._size and not self._told:
            self._told = True
            print("warning: Raspberry Pi camera {} chose size {}x{} (asked for {}x{})".format(
                self._number, *(source.size + self._size)), file=sys.stderr, flush=True)  # fmt: skip
        return source

    def _configuration(self, camera: Any) -> Dict[str, Any]:
        """picamera2's configuration: "BGR888" is its name for bytes in the order R, G, B."""
        width, height = self._size
        asked = {}  # type: Dict[str, Any]
        if self._lores:
            # the image processor of a Raspberry Pi 4 and older (VC4) writes nothing but YUV there
            yuv = getattr(getattr(camera, "platform", None), "name", "VC4") == "VC4"
            asked["lores"] = {"size": self._size, "format": "YUV420" if yuv else "BGR888"}
            times = max(1, -(-LEAST_MAIN[0] // width), -(-LEAST_MAIN[1] // height))
            width, height = times * width, times * height
        asked["main"] = {"size": (width, height), "format": "BGR888"}
        if "FrameDurationLimits" in camera.camera_controls:  # not so for USB cameras
            asked["controls"] = {"FrameDurationLimits": (1000000 // self._rate, 1000000 // self._rate)}
        configuration = camera.create_video_configuration(
            buffer_count=4, queue=False, display=None, encode=None, **asked
        )  # type: Dict[str, Any]
        return configuration


class RequestSource(Source):
    """A started Picamera2.

    Args:
        camera: it is closed by ``close``.
        stream: "main" or "lores".
        limit_s: how long a frame is waited for.
    """

    def __init__(self, camera: Any, stream: str, limit_s: float) -> None:
        chosen = camera.camera_configuration()[stream]
        self.size: Tuple[int, int] = tuple(chosen["size"])  # type: ignore[assignment]
        self._format = chosen["format"]
        self._camera = camera
        self._stream = stream
        self._limit_s = limit_s
        if self._format not in ("BGR888", "RGB888", "YUV420"):
            raise ValueError("it sends {}, not BGR888, RGB888 or YUV420".format(self._format))

    def grab(self) -> Shot:
        try:
            request = self._camera.capture_request(wait=self._limit_s)  # a release that knows no limit waits for ever
        except Exception as error:
            if type(error).__name__ == "TimeoutError":  # Python's or concurrent.futures', which are two before 3.11
                raise NoFrame("it gave no frame for {:g} s".format(self._limit_s)) from error
            raise
        try:
            array = request.make_array(self._stream)  # a copy: the buffer goes back to the camera
            metadata = request.get_metadata()
        finally:
            request.release()
        stamp_ns = metadata.get("SensorTimestamp")
        return Shot(self._rgb(array), None if stamp_ns is None else exposure_s(stamp_ns / 1e9))

    def close(self) -> None:
        if hasattr(self._camera, "cancel_all_and_flush"):  # a request that never came would hold close() for ever
            self._camera.cancel_all_and_flush()
        self._camera.close()

    def _rgb(self, array: np.ndarray) -> np.ndarray:
        if self._format == "BGR888":
            return array
        if self._format == "RGB888":
            return cv2.cvtColor(array, cv2.COLOR_BGR2RGB)
        # planes Y, U, V with rows of ``stride`` bytes, more than the width where the hardware wants it. I420 is that order:
        # OpenCV's COLOR_YUV420p2RGB is Y, V, U and would swap red and blue
        width, height = self.size
        return np.ascontiguousarray(cv2.cvtColor(array, cv2.COLOR_YUV2RGB_I420)[:height, :width])


def import_picamera2() -> Any:
    """The module picamera2, that Raspberry Pi OS's own Python alone has.

    Raises:
        CameraError: it is absent, or does not fit this Python or NumPy.
    """
    try:
        import picamera2
    except Exception as error:  # ImportError, or ValueError for a NumPy of another generation
        raise CameraError(
            NOT_INSTALLED.format(str(error).splitlines()[0] if str(error) else type(error).__name__)
        ) from error
    return picamera2
