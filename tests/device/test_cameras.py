import threading
import time

import cv2
import numpy as np
import pytest

from device.cameras import open_camera, photos, video
from device.cameras.base import NewestFrame
from device.errors import CameraError, DataError, UsageError


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


def test_npz_cut_off(tmp_path):
    path = tmp_path / "f.npz"
    np.savez(str(path), frames=np.stack([picture()] * 20))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="could not read frames"):
        open_camera("npz:" + str(path))


def write_video(path, count):
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for value in range(count):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[..., 0] = 20 * value  # blue
        writer.write(frame)
    writer.release()


def test_video_ends(tmp_path):
    path = str(tmp_path / "v.avi")
    write_video(path, 6)
    frames = every(open_camera("video:" + path))
    assert [frame.index for frame in frames] == list(range(6))
    assert abs(int(frames[5].pixels[20, 20, 2]) - 100) < 12  # blue is last in RGB
    assert frames[5].pixels[20, 20, 0] < 12


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_video_that_is_none(tmp_path, content):
    path = tmp_path / "v.avi"
    path.write_bytes(content)
    with pytest.raises(DataError, match="could not decode"):
        open_camera("video:" + str(path))


def test_video_cut_off_gives_what_is_there(tmp_path):
    path = tmp_path / "v.avi"
    write_video(str(path), 10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        frames = every(open_camera("video:" + str(path)))
    except DataError:
        frames = []  # an index at the end of the file may be needed: then it is one clear sentence
    assert len(frames) < 10


@pytest.fixture
def photographs(monkeypatch):
    monkeypatch.setattr(photos, "_photographs", lambda: [picture(1, 300, 400), picture(2, 500, 300)])


def test_photos_are_a_repeatable_tour(photographs):
    first, again = open_camera("photos:?size=64x48"), open_camera("photos:?size=64x48")
    tour = [first.read().pixels for _ in range(120)]
    assert tour[0].shape == (48, 64, 3)
    assert all((again.read().pixels == frame).all() for frame in tour)
    assert any((tour[0] != frame).any() for frame in tour[1:])
    assert (open_camera("photos:?size=64x48&seed=1").read().pixels != tour[0]).any()


def test_photos_without_the_package(monkeypatch):
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install scikit-image"):
        open_camera("photos:")


@pytest.mark.parametrize(
    "uri",
    ["photos:?size=64", "photos:?colour=red", "photos:?seed=x", "photos:?size=99999x99999", "v4l2:///dev/null?rate=0"],
)
def test_options_that_cannot_work(uri, photographs):
    with pytest.raises(UsageError, match="found .*expected"):
        open_camera(uri)


class FakeCapture:
    """cv2.VideoCapture of a camera that takes any size but keeps its own rate."""

    after = "unplugged"

    def __init__(self, number, backend):
        self.opened_with = (number, backend)
        self.calls = []
        self.values = {}
        self.frames = 5
        self.release_read = threading.Event()
        FakeCapture.last = self

    def isOpened(self):
        return True

    def set(self, setting, value):
        self.calls.append(setting)
        self.values[setting] = 15 if setting == cv2.CAP_PROP_FPS else value
        return True

    def get(self, setting):
        return self.values[setting]

    def read(self):
        if self.frames:
            self.frames -= 1
            pixels = np.zeros((8, 8, 3), np.uint8)
            pixels[..., 0] = 255
            return True, pixels
        if self.after == "stalls":
            self.release_read.wait(5)
        return False, None

    def release(self):
        self.release_read.set()


@pytest.fixture
def fake_capture(monkeypatch):
    monkeypatch.setattr(video.cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(video, "_check_device", lambda name: None)
    return FakeCapture


def test_v4l2_asks_for_mjpg_first_and_reads_back(fake_capture, capsys):
    with open_camera("v4l2:///dev/video3?size=320x240&rate=30") as camera:
        assert camera.live
        frame = camera.read()
        assert frame.pixels[0, 0].tolist() == [0, 0, 255]  # blue, in RGB
    capture = fake_capture.last
    assert capture.opened_with == (3, cv2.CAP_V4L2)
    assert capture.calls == [
        cv2.CAP_PROP_FOURCC,
        cv2.CAP_PROP_FRAME_WIDTH,
        cv2.CAP_PROP_FRAME_HEIGHT,
        cv2.CAP_PROP_FPS,
        cv2.CAP_PROP_BUFFERSIZE,
    ]
    assert capture.values[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    assert capsys.readouterr().err.strip() == "warning: /dev/video3 chose rate 15 (asked for 30)"


def test_v4l2_unplugged(fake_capture):
    with open_camera("v4l2:///dev/video0") as camera, pytest.raises(CameraError, match="empty frame"):
        for _ in range(10):
            camera.read()


def test_v4l2_stalled(fake_capture, monkeypatch):
    monkeypatch.setattr(fake_capture, "after", "stalls")
    camera = video.V4L2Camera("///dev/video0", stall_s=0.2)
    try:
        with pytest.raises(CameraError, match="found no frame from camera /dev/video0"):
            for _ in range(10):
                camera.read()
    finally:
        fake_capture.last.release_read.set()
        camera.close()


def test_newest_frame_wins_and_the_rest_are_counted():
    given, taken = threading.Semaphore(0), threading.Semaphore(0)
    numbers = iter(range(100))

    def grab():
        taken.release()
        given.acquire()
        number = next(numbers)
        return None if number == 5 else np.full((1, 1), number, np.uint8)

    newest = NewestFrame(grab, "test", stall_s=5)
    for _ in range(5):
        given.release()
    for _ in range(6):
        assert taken.acquire(timeout=5)
    frame = newest.get()
    assert (frame.index, int(frame.pixels[0, 0]), newest.dropped) == (4, 4, 4)
    given.release()
    assert newest.get() is None
    assert frame.timestamp_s <= time.monotonic()
    newest.stop()
