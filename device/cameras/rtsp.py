"""Network cameras over RTSP, through OpenCV's FFmpeg."""

import re
import socket
from typing import List
from urllib.parse import urlsplit

import cv2

from device.cameras.base import whole_option
from device.cameras.capture import CaptureSource, ffmpeg_options, open_capture
from device.cameras.live import LiveCamera
from device.cameras.live_source import Patience
from device.errors import CameraError, UsageError

PORTS = {"rtsp": 554, "rtsps": 322}
CONNECT_S = 5.0
PATIENCE = Patience(open_s=30.0, stall_s=10.0)  # key frames may be seconds apart
TCP_OPTION = re.compile(r"([?&])tcp=([^&]*)(&|$)")


class RtspCamera(LiveCamera):
    """``rtsp://user:password@host:554/path?tcp=1``, ``rtsps://...``: a network camera, newest frame first.

    ``tcp=0`` has the frames sent by UDP. Other options belong to the camera's own address and are left in it. The stream
    is opened with FFmpeg's low-latency flags, unless OPENCV_FFMPEG_CAPTURE_OPTIONS is set already. The
    password is never printed.

    Raises:
        UsageError: no address.
        CameraError: nobody listens there, or it gives no video to this user.
    """

    def __init__(self, scheme: str, rest: str, patience: Patience = PATIENCE) -> None:
        url = scheme + ":" + rest
        tcp = TCP_OPTION.search(url)
        if tcp:
            url = url[: tcp.start()] + (tcp.group(1) if tcp.group(3) else "") + url[tcp.end() :]
        self._tcp = whole_option("tcp", tcp.group(2) if tcp else "1", 0, 1)
        self._url = url
        self._shown = masked(url)
        try:
            parts = urlsplit(url)
            self._address = (parts.hostname or "", parts.port or PORTS[scheme])
        except ValueError:  # a port that is none
            self._address = ("", 0)
        if not rest.startswith("//") or not self._address[0]:
            raise UsageError(
                "found --source {}; expected an address, as in rtsp://user:password@host:554/path".format(self._shown)
            )
        self._read_ms = int(patience.stall_s * 800)  # FFmpeg gives up a little before the reader loses patience
        self._open_ms = int(patience.open_s * 800)
        super().__init__("camera " + self._shown, patience)

    def open_source(self) -> CaptureSource:
        try:  # FFmpeg does not say whether the network or the password was wrong
            socket.create_connection(self._address, CONNECT_S).close()
        except OSError as error:
            raise CameraError("could not reach {} ({}); expected a camera that listens on {}:{}; check that it is on and its "
                              "address".format(self._shown, error, *self._address)) from error  # fmt: skip
        options = "rtsp_transport;{}|fflags;nobuffer|flags;low_delay|stimeout;{}".format(
            "tcp" if self._tcp else "udp", self._read_ms * 1000
        )
        limits: List[int] = []
        if hasattr(cv2, "CAP_PROP_OPEN_TIMEOUT_MSEC"):
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, self._open_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, self._read_ms]
        # else OpenCV is older than 4.5.2: 30 s, built in; the TCP connection has its own limit in the options (stimeout)
        with ffmpeg_options(options):
            capture = open_capture(self._url, cv2.CAP_FFMPEG, limits)
        if not capture.isOpened():
            capture.release()
            raise CameraError("could not open {}, though its port answers; expected video there for this user; check path, user and "
                              "password".format(self._shown))  # fmt: skip
        return CaptureSource(capture)


def masked(uri: str) -> str:
    """An address without its password: rtsp://user:***@host/path."""
    scheme, mark, rest = uri.partition("://")
    before, at, after = rest.rpartition("@")
    if mark and at and not re.match(r"[^/:@]+(:\d+)?/", before):  # an @ in a path follows no password
        user, colon, _ = before.partition(":")
        rest = (user + ":***@" if colon else "***@") + after
    return re.sub(r"(?i)((?:pass|pwd)\w*=)[^&/]*", r"\1***", scheme + mark + rest)
