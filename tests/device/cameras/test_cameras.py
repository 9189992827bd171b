"""Sources that are files: folders of images, .npz files and videos."""

import itertools
import threading
import time

import cv2
import numpy as np
import pytest

from device.cameras.arrays import ArrayCamera
from device.cameras.base import Frame, Pacer
from device.cameras.open import open_camera
from device.errors import DataError, UsageError
from device.system.stop_flag import StopFlag


def picture(seed=0, height=24, width=32):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def every(camera):
    with camera:
        return list(iter(camera.read, None))


def test_folder_in_order_and_in_rgb(tmp_path):
    (tmp_path / "a").mkdir()
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 2] = 255  # OpenCV's order: blue, green, red
    cv2.imwrite(str(tmp_path / "a" / "2.png"), red)
    cv2.imwrite(str(tmp_path / "1.png"), picture())
    (tmp_path / "notes.txt").write_text("no image")
    frames = every(open_camera("dir:" + str(tmp_path)))
    assert [frame.index for frame in frames] == [0, 1]
    assert frames[1].pixels[0, 0].tolist() == [255, 0, 0]
    np.testing.assert_array_equal(frames[0].pixels, picture()[..., ::-1])


def test_a_folder_again_and_again(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "1.png"), picture(1))
    (tmp_path / "2.png").write_bytes(b"no image")
    cv2.imwrite(str(tmp_path / "3.png"), picture(3))
    with open_camera("dir:{}?loop=1".format(tmp_path)) as camera:
        frames = list(itertools.islice(iter(camera.read, None), 5))
        assert [frame.index for frame in frames] == [0, 2, 3, 5, 6]
        np.testing.assert_array_equal(frames[4].pixels, frames[0].pixels)
        assert capsys.readouterr().err.count("2.png") == 1  # not once a round
        for name in ("1.png", "3.png"):
            (tmp_path / name).unlink()
        with pytest.raises(DataError, match="could not read any of the 3 image files"):
            camera.read()


def test_an_image_that_is_none_is_named_and_skipped(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "1.png"), picture())
    (tmp_path / "2.png").write_bytes(b"no image")
    camera = open_camera("dir:" + str(tmp_path))
    assert len(every(camera)) == 1
    assert camera.skipped == 1
    assert "2.png as an image" in capsys.readouterr().err


def test_npz_with_and_without_labels(tmp_path):
    path = str(tmp_path / "f.npz")
    frames = np.stack([picture(0), picture(1)])
    np.savez(path, frames=frames, labels=np.array([3, 1]))
    read = every(open_camera("npz:" + path))
    assert [frame.label for frame in read] == [3, 1]
    np.testing.assert_array_equal(read[1].pixels, frames[1])
    np.savez(path, frames=frames[..., 0])
    assert [(frame.label, frame.pixels.shape) for frame in every(open_camera("npz:" + path))] == [(None, (24, 32))] * 2


@pytest.mark.parametrize(
    "arrays",
    [{"other": np.zeros(3)}, {"frames": np.zeros((2, 4, 4, 3))}, {"frames": np.zeros((4, 4), np.uint8)}, {"frames": np.zeros((0, 4, 4, 3), np.uint8)},
     {"frames": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.zeros(3, int)}, {"frames": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.zeros(2)}],
)  # fmt: skip
def test_npz_with_other_arrays(tmp_path, arrays):
    path = str(tmp_path / "f.npz")
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="expected frames uint8"):
        open_camera("npz:" + path)


def test_an_npz_file_that_was_cut_off_is_refused(tmp_path):
    path = tmp_path / "f.npz"
    np.savez(str(path), frames=np.stack([picture()] * 20))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="could not read frames"):
        open_camera("npz:" + str(path))


def test_npz_options_and_question_marks_in_paths(tmp_path):
    frames = np.stack([picture(0), picture(1)])
    for name in ("f.npz", "what?.npz", "f.npz?loop=1"):
        np.savez(str(tmp_path / "saved.npz"), frames=frames[: 1 + ("?" in name)])
        (tmp_path / "saved.npz").rename(tmp_path / name)
    assert len(every(open_camera("npz:{}/what?.npz".format(tmp_path)))) == 2
    assert len(every(open_camera("npz:{}/f.npz?loop=1".format(tmp_path)))) == 2  # a file of that very name
    (tmp_path / "f.npz?loop=1").unlink()
    with open_camera("npz:{}/f.npz?loop=1".format(tmp_path)) as camera:
        assert [camera.read().index for _ in range(5)] == list(range(5))
    with pytest.raises(UsageError, match="found option lop in the source"):
        open_camera("npz:{}/f.npz?lop=1".format(tmp_path))
    with pytest.raises(DataError, match=r"none.npz\?loop=1"):
        open_camera("npz:{}/none.npz?loop=1".format(tmp_path))


def test_a_frame_has_no_twin_unless_its_source_knows_one():
    assert Frame(0, picture(), None, 0.0).twin is None


def test_arrays_with_labels_and_twins():
    frames, labels = np.stack([picture(0), picture(1)]), np.array([3, 1])
    twins = frames ^ 1
    camera = ArrayCamera(frames, labels, twins, "a set", loop=True)
    assert camera.describe() == "2 frames of a set"
    assert not camera.live
    read = [camera.read() for _ in range(3)]
    assert [(frame.index, frame.label) for frame in read] == [(0, 3), (1, 1), (2, 3)]
    np.testing.assert_array_equal(read[2].pixels, frames[0])
    np.testing.assert_array_equal(read[1].twin, twins[1])
    assert [frame.index for frame in every(ArrayCamera(frames))] == [0, 1]
    for bad in (twins[:1], twins.astype(np.float32), twins[..., :1]):
        with pytest.raises(DataError, match="found frames under attack"):
            ArrayCamera(frames, labels, bad)


class Clock:
    """A stand-in for time.monotonic, which waiting moves on."""

    def __init__(self, monkeypatch):
        self.now_s = 100.0
        monkeypatch.setattr("device.cameras.base.time", self)
        monkeypatch.setattr("device.cameras.base.wait_alive", self.wait)

    def monotonic(self):
        return self.now_s

    def wait(self, _wait, seconds):
        self.now_s += seconds
        return False


def test_a_rate_is_kept_without_bursts(monkeypatch):
    clock = Clock(monkeypatch)
    camera = ArrayCamera(np.stack([picture()] * 20), rate=100.0)

    def times_s(count):
        return [clock.now_s for _ in range(count) if camera.read()]

    assert times_s(11) == pytest.approx([100 + 0.01 * number for number in range(11)])
    clock.now_s += 0.06  # five frames late
    assert times_s(3) == pytest.approx([100.16, 100.17, 100.18])


def test_waiting_for_a_frame_that_is_due_ends_when_asked_to():
    camera = ArrayCamera(np.stack([picture()] * 3), rate=0.01)
    camera.stop_flag = StopFlag()
    assert camera.read() is not None  # the first is due at once
    threading.Timer(0.05, camera.stop_flag.set).start()
    started_s = time.monotonic()
    assert camera.read() is None
    assert time.monotonic() - started_s < 5
    assert Pacer(None).wait(camera.stop_flag)


def write_video(path, count):
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for value in range(count):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[..., 0] = 20 * value  # blue
        writer.write(frame)
    writer.release()


def test_a_video_ends(tmp_path):
    path = str(tmp_path / "v.avi")
    write_video(path, 6)
    frames = every(open_camera("video:" + path))
    assert [frame.index for frame in frames] == list(range(6))
    assert abs(int(frames[5].pixels[20, 20, 2]) - 100) < 12  # blue is last in RGB
    assert frames[5].pixels[20, 20, 0] < 12


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_a_file_that_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "v.avi"
    path.write_bytes(content)
    with pytest.raises(DataError, match="could not decode"):
        open_camera("video:" + str(path))


def test_a_video_that_was_cut_off_gives_the_frames_that_are_there(tmp_path):
    path = tmp_path / "v.avi"
    write_video(str(path), 10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        frames = every(open_camera("video:" + str(path)))
    except DataError:
        frames = []  # an index at the end of the file may be needed: then it is one clear sentence
    assert len(frames) < 10


@pytest.mark.parametrize(
    "uri",
    [
        "photos:?size=64",
        "photos:?colour=red",
        "photos:?seed=x",
        "photos:?seed=\u00b2",
        "photos:?size=\u00b2x3",
        "photos:?size=640x480x3",
        "photos:?size=" + "9" * 5000 + "x1",
        "npz:{}?loop=\u0661".format(__file__),
        "photos:?size=99999x99999",
        "photos:?rate=0",
        "photos:?rate=nan",
        "photos:?frames=0",
        "photos:?move=away",
        "photos:.?amount=5",
        "photos:.?amount=nan",
        "dir:.?loop=yes",
        "dir:.?rate=fast",
        "v4l2:///dev/null?rate=0",
        "v4l2:///dev/null?size=0x0",
        "picamera2://0",
        "picamera2://?lores=maybe",
        "picamera2://?camera=x",
        "csi://0",
        "csi://?sensor=-1",
        "csi://?flip=8",
        "csi://?mode=1280",
        "csi://?size=33x32",
        "rtsp://",
        "rtsp:host/path",
        "rtsp://host:port/path",
        "rtsp://host/path?tcp=2",
        "rtmp://eve:s3cret@host/path",
        "images",
    ],
)
def test_options_that_cannot_work(uri):
    with pytest.raises(UsageError, match="found .*expected") as caught:
        open_camera(uri)
    assert "s3cret" not in str(caught.value)
