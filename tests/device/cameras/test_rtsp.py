"""Network cameras: OpenCV's own FFmpeg against a camera in little on this machine."""

import base64
import os
import re
import socket
import struct
import threading
import time

import cv2
import numpy as np
import pytest

from device.cameras import rtsp
from device.cameras.capture import FFMPEG_OPTIONS
from device.cameras.live_source import Patience
from device.cameras.open import open_camera
from device.cameras.rtsp import RtspCamera, masked
from device.errors import CameraError
from tests.device.fake_server import FakeServer, read_head

QUICK = Patience(open_s=3.0, stall_s=0.5, pause_s=0.02, longest_pause_s=0.1, give_up_s=0.8)

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 26\r\na=control:track0\r\na=framerate:25\r\n"
)


class RtspServer(FakeServer):
    """RTSP 1.0 with Basic authentication; MJPEG (RFC 2435) interleaved on the same TCP connection.

    mode: plays | silent (after 3 frames) | hangs_up (after 3 frames) | mute (never answers)
    """

    def __init__(self, colour=(200, 40, 20), user="eve", password="s3cret"):
        self.mode = "plays"
        self.transports = []
        self.targets = []
        self.plays = 0
        self._key = base64.b64encode("{}:{}".format(user, password).encode()).decode()
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[:] = colour[::-1]
        self._jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
        super().__init__()

    def answer(self, connection, stream):
        if self.mode == "mute":
            return not self.stopped.wait(10)
        first, headers = read_head(stream)
        method, _, target = first.partition(" ")
        if not target:
            return False
        lines = ["CSeq: " + headers["cseq"], "Session: 1"]
        body = ""
        if method == "DESCRIBE":
            self.targets.append(target.split(" ")[0])
        if method != "OPTIONS" and headers.get("authorization") != "Basic " + self._key:
            self._refuse(connection, "401 Unauthorized", [lines[0], 'WWW-Authenticate: Basic realm="test"'])
            return True
        if method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = SDP
            lines += ["Content-Type: application/sdp", "Content-Length: {}".format(len(body))]
        elif method == "SETUP":
            self.transports.append(headers["transport"])
            if "TCP" not in headers["transport"]:
                self._refuse(connection, "461 Unsupported Transport", lines)
                return True
            lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        connection.sendall(("\r\n".join(["RTSP/1.0 200 OK", *lines]) + "\r\n\r\n" + body).encode())
        if method == "PLAY":
            self.plays += 1
            threading.Thread(target=self._play, args=(connection,), daemon=True).start()
        return method != "TEARDOWN"

    @staticmethod
    def _refuse(connection, status, lines):
        connection.sendall(("\r\n".join(["RTSP/1.0 " + status, *lines]) + "\r\n\r\n").encode())

    def _play(self, connection):
        quantisation = b"".join(re.findall(b"\xff\xdb\x00\x43.(.{64})", self._jpeg, re.DOTALL))
        scan = self._jpeg.index(b"\xff\xda")
        data = self._jpeg[scan + 2 + struct.unpack(">H", self._jpeg[scan + 2 : scan + 4])[0] : -2]
        header = struct.pack(">I4B", 0, 1, 255, 64 // 8, 48 // 8) + struct.pack(">2BH", 0, 0, 128) + quantisation
        assert len(quantisation) == 128
        for number in range(100000):
            if number >= 3 and self.mode == "silent":
                return
            if number >= 3 and self.mode == "hangs_up":
                connection.shutdown(socket.SHUT_RDWR)
                return
            packet = struct.pack(">2BHII", 0x80, 0x80 | 26, number & 0xFFFF, number * 3600, 7) + header + data
            try:
                connection.sendall(struct.pack(">2BH", 0x24, 0, len(packet)) + packet)
            except OSError:
                return
            if self.stopped.wait(0.02):
                return


@pytest.fixture
def server():
    camera = RtspServer()
    yield camera
    camera.stop()


def at(server, path="cam", user="eve:s3cret"):
    return "//{}@127.0.0.1:{}/{}".format(user, server.port, path)


def test_frames_by_tcp(server, capfd):
    with RtspCamera("rtsp", at(server, "cam?tcp=1&channel=1"), QUICK) as camera:
        frame = camera.read()
        assert camera.live
        assert frame.pixels.shape == (48, 64, 3)
        assert np.abs(frame.pixels[20, 20].astype(int) - (200, 40, 20)).max() < 8
        assert camera.describe() == "camera rtsp://eve:***@127.0.0.1:{}/cam?channel=1".format(server.port)
        assert "TCP" in server.transports[0]
        assert server.targets[0].endswith("/cam?channel=1")  # the camera's own option is left, ours is not
        time.sleep(0.2)
        camera.read()
        assert camera.dropped > 0
    assert FFMPEG_OPTIONS not in os.environ
    assert "s3cret" not in "".join(capfd.readouterr())


def test_frames_by_udp_when_asked_for(server, capfd):
    with pytest.raises(CameraError, match="could not open"):  # this camera has TCP alone
        RtspCamera("rtsp", at(server, "cam?tcp=0"), QUICK)
    assert "client_port" in server.transports[0]
    assert "s3cret" not in "".join(capfd.readouterr())


def test_options_that_the_user_set_are_kept(server, monkeypatch):
    monkeypatch.setenv(FFMPEG_OPTIONS, "rtsp_transport;udp")
    with pytest.raises(CameraError, match="could not open"):
        RtspCamera("rtsp", at(server), QUICK)
    assert "client_port" in server.transports[0]
    assert os.environ[FFMPEG_OPTIONS] == "rtsp_transport;udp"


@pytest.mark.parametrize("mode", ["silent", "hangs_up"])
def test_a_stream_that_ends_is_opened_again(server, mode, capfd):
    with RtspCamera("rtsp", at(server), QUICK._replace(give_up_s=10)) as camera:
        camera.read()
        server.mode = mode
        time.sleep(0.1)
        server.mode = "plays"
        while not camera.reopened:
            camera.read()
        assert server.plays == 2
    err = capfd.readouterr().err
    assert "/cam is back after" in err
    assert "s3cret" not in err


def test_a_camera_that_went_away(server, capfd):
    with RtspCamera("rtsp", at(server), QUICK) as camera:
        camera.read()
        server.stop()
        with pytest.raises(
            CameraError, match=r"found no frame from camera rtsp://eve:\*\*\*@.*could not reach"
        ) as caught:
            while True:
                camera.read()
    assert "s3cret" not in str(caught.value) + capfd.readouterr().err


@pytest.mark.parametrize(("user", "mode"), [("eve:wr0ng", "plays"), ("eve:s3cret", "mute")])
def test_a_camera_that_gives_this_user_nothing(server, capfd, user, mode):
    server.mode = mode
    started_s = time.monotonic()
    with pytest.raises(
        CameraError, match="could not open rtsp.*though its port answers.*check path, user and password"
    ) as caught:
        RtspCamera("rtsp", at(server, user=user), QUICK._replace(open_s=1.0))
    assert time.monotonic() - started_s < 5
    assert not re.search("s3cret|wr0ng", str(caught.value) + capfd.readouterr().err)


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(CameraError, match="could not reach rtsp.*listens on 127.0.0.1:{}".format(port)) as caught:
        open_camera("rtsp://eve:s3cret@127.0.0.1:{}/cam".format(port))
    assert "s3cret" not in str(caught.value)


def test_an_old_opencv_without_time_outs(server, monkeypatch):
    given = []

    class Capture:
        def __init__(self, *arguments):
            given.append((arguments, os.environ[FFMPEG_OPTIONS]))

        def isOpened(self):
            return False

        def release(self):
            given.append("released")

    monkeypatch.setattr(rtsp.cv2, "VideoCapture", Capture)
    monkeypatch.delattr(rtsp.cv2, "CAP_PROP_OPEN_TIMEOUT_MSEC")
    with pytest.raises(CameraError, match="could not open"):
        RtspCamera("rtsp", at(server), QUICK)
    assert given == [
        (("rtsp:" + at(server), cv2.CAP_FFMPEG), "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay|stimeout;400000"),
        "released",
    ]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://host/path", "rtsp://host/path"),
        ("rtsp://host:554/path@2", "rtsp://host:554/path@2"),
        ("rtsp://eve:pw@host/path", "rtsp://eve:***@host/path"),
        ("rtsps://eve:p@w@host:322/path?a=1", "rtsps://eve:***@host:322/path?a=1"),
        ("rtsp://eve:p/w@host/path", "rtsp://eve:***@host/path"),
        ("rtsp://eve:p?w#x@host/path", "rtsp://eve:***@host/path"),
        ("rtsp://key@host/path", "rtsp://***@host/path"),
        ("rtsp://host/cam?user=eve&password=pw&x=1", "rtsp://host/cam?user=eve&password=***&x=1"),
        ("rtsp://host/user=eve_password=pw_channel=1.sdp", "rtsp://host/user=eve_password=***"),
        ("dir:photos@home", "dir:photos@home"),
    ],
)
def test_passwords_are_masked(uri, shown):
    assert masked(uri) == shown


@pytest.mark.parametrize(
    ("path", "target", "tcp"),
    [("cam?tcp=0", "cam", 0), ("cam?a=1&tcp=0", "cam?a=1", 0), ("cam?tcp=0&a=1", "cam?a=1", 0), ("cam?a=1&tcp=1&b=2", "cam?a=1&b=2", 1),
     ("cam?mytcp=0", "cam?mytcp=0", 1)],
)  # fmt: skip
def test_our_option_is_taken_out_of_the_address(monkeypatch, path, target, tcp):
    monkeypatch.setattr(rtsp.LiveCamera, "__init__", lambda self, name, patience: None)
    camera = RtspCamera("rtsp", "//host/" + path)
    assert (camera._url, camera._tcp) == ("rtsp://host/" + target, tcp)
