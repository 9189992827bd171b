"""Frames of a live camera through cv2.VideoCapture: what v4l2, csi and rtsp share."""

import time

import cv2

from device.cameras.clock import exposure_s
from device.cameras.source import NoFrame, Shot, Source


class CaptureSource(Source):
    """An open cv2.VideoCapture.

    Args:
        capture: open; it is released by ``close``.
        stamped: CAP_PROP_POS_MSEC is the sensor's clock, as in OpenCV's V4L2 back end (cap_v4l.cpp: the buffer's time
            stamp); in the others it is a position in the stream.
        attempts: empty frames in a row that mean failure. USB cameras send a broken JPEG now and then.
    """

    def __init__(self, capture: cv2.VideoCapture, stamped: bool = False, attempts: int = 1) -> None:
        self._capture = capture
        self._stamped = stamped
        self._attempts = attempts

    def grab(self) -> Shot:
        for _ in range(self._attempts):
            worked, pixels = self._capture.read()
            if worked and pixels is not None and pixels.size:
                break
            time.sleep(0.01)
        else:
            raise NoFrame("it gave empty frames, as when it is unplugged")
        stamp_s = exposure_s(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3) if self._stamped else None
        return Shot(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if pixels.ndim == 3 else pixels, stamp_s)

    def close(self) -> None:
        self._capture.release()
