"""Network cameras: OpenCV's own FFmpeg against a camera in little on this machine."""

import os
import re
import socket
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
from tests.device.cameras.rtsp_server import RtspServer

QUICK = Patience(open_s=3.0, stall_s=0.5, pause_s=0.02, longest_pause_s=0.1, give_up_s=0.8)

RED = (200, 40, 20)


def red_picture():
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:] = RED[::-1]
    return cv2.imencode(".jpg", pixels)[1].tobytes()


@pytest.fixture
def server():
    camera = RtspServer([red_picture()])
    yield camera
    camera.stop()


def at(server, path="cam", user="eve:s3cret"):
    return "//{}@127.0.0.1:{}/{}".format(user, server.port, path)


def test_frames_come_over_tcp(server, capfd):
    with RtspCamera("rtsp", at(server, "cam?tcp=1&channel=1"), QUICK) as camera:
        frame = camera.read()
        assert camera.live
        assert frame.pixels.shape == (48, 64, 3)
        assert np.abs(frame.pixels[20, 20].astype(int) - RED).max() < 8
        assert camera.describe() == "camera rtsp://eve:***@127.0.0.1:{}/cam?channel=1".format(server.port)
        assert "TCP" in server.transports[0]
        assert server.targets[0].endswith("/cam?channel=1")  # the camera's own option is left, ours is not
        time.sleep(0.2)
        camera.read()
        assert camera.dropped > 0
    assert FFMPEG_OPTIONS not in os.environ
    assert "s3cret" not in "".join(capfd.readouterr())


def photographs():
    """Five pictures of 640 x 480 pixels, as JPEG."""
    coarse = np.random.RandomState(0).randint(0, 256, (5, 6, 8, 3)).astype(np.uint8)
    return [
        cv2.imencode(".jpg", cv2.resize(each, (640, 480), interpolation=cv2.INTER_CUBIC))[1].tobytes()
        for each in coarse
    ]


def test_photographs_come_in_their_order_as_they_are(capfd):
    pictures = photographs()
    decoded = [
        cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int) for each in pictures
    ]
    server = RtspServer(pictures, period_s=0.02)
    try:
        with RtspCamera("rtsp", at(server), QUICK) as camera:
            frames = [camera.read() for _ in range(12)]
    finally:
        server.stop()
    assert {frame.pixels.shape for frame in frames} == {(480, 640, 3)}
    errors = [[np.abs(frame.pixels - each).mean() for each in decoded] for frame in frames]
    assert max(min(each) for each in errors) < 2
    shown = [int(np.argmin(each)) for each in errors]
    assert len({(number - frame.index) % len(pictures) for number, frame in zip(shown, frames)}) == 1


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


def test_an_address_where_nothing_listens_is_an_error():
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
