"""Videos that are damaged, cut off or oddly named."""

import io
import os

import cv2
import numpy as np
import pytest

from device.cameras import capture, mjpeg
from device.cameras import video as module
from device.cameras.mjpeg import MjpegReader
from device.cameras.open import open_camera
from device.errors import DataError

COUNT = 20


def write(path, codec="MJPG"):
    """A video of COUNT frames in shades of grey, each lighter than the one before."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, (64, 48))
    assert writer.isOpened()
    for value in range(COUNT):
        writer.write(np.full((48, 64, 3), 12 * value, np.uint8))
    writer.release()


def seen(camera):
    """Index of every frame, and which of the written frames it shows."""
    with camera:
        frames = list(iter(camera.read, None))
    return [frame.index for frame in frames], [int(frame.pixels.mean() / 12 + 0.5) for frame in frames]


def pictures():
    return [cv2.imencode(".jpg", np.full((48, 64, 3), 12 * value, np.uint8))[1].tobytes() for value in range(COUNT)]


def without(*numbers):
    return [number for number in range(COUNT) if number not in numbers]


def test_a_bad_frame_is_not_the_end_and_keeps_its_number(tmp_path, capsys):
    path = tmp_path / "v.avi"
    write(path)
    content = bytearray(path.read_bytes())
    place = -1
    for _ in range(8):  # the picture of frame 7
        place = content.index(b"\xff\xd8\xff", place + 1)
    end = content.index(b"\xff\xd9", place) + 2
    content[place:end] = bytes(end - place)
    path.write_bytes(bytes(content))
    camera = open_camera("video:" + str(path))
    assert seen(camera) == (without(7), without(7))
    assert camera.skipped == 1
    assert capsys.readouterr().err.count("warning: lost 1 frames of {}".format(path)) == 1


def test_frames_behind_the_end_of_a_file_are_counted(tmp_path, capsys):
    path = tmp_path / "v.avi"
    write(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        camera = open_camera("video:" + str(path))
    except DataError:
        pytest.skip("this FFmpeg does not read an AVI without its index")
    indices, shown = seen(camera)
    assert indices == shown == list(range(len(indices)))
    assert camera.skipped == COUNT - len(indices)
    assert "warning: lost {} frames".format(camera.skipped) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "codec"), [("v.avi", "MJPG"), ("v.mp4", "mp4v"), ("v.mkv", "mp4v"), ("v.webm", "VP80")]
)
def test_of_a_whole_video_nothing_is_lost(name, codec, tmp_path, capsys):
    write(tmp_path / name, codec)
    camera = open_camera("video:" + str(tmp_path / name))
    assert seen(camera)[0] == list(range(COUNT))
    assert camera.skipped == 0
    assert "lost" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        b"2026-11-28T12:00:00.avi",
        b"caf\xe9.avi",
        b"\x1b[2J.avi",
        b"100%d.avi",
        b"what?.avi",
        "\u732b.avi".encode("utf-8"),
    ],
)
def test_a_name_is_the_name_of_a_file_and_nothing_else(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("v.avi")
    os.rename(b"v.avi", name)
    camera = open_camera("video:" + os.fsdecode(name))
    assert camera.describe().isprintable()
    assert seen(camera)[0] == list(range(COUNT))


def test_no_name_that_cannot_be_encoded_reaches_opencv():
    assert not capture.open_capture("caf\udce9.avi", cv2.CAP_ANY).isOpened()
    assert not capture.open_capture("rtsp://caf\udce9/", cv2.CAP_FFMPEG, [cv2.CAP_PROP_FPS, 1]).isOpened()


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(str(tmp_path / "fifo.avi"))
    for name in ("fifo.avi", "absent.avi", "."):
        with pytest.raises(DataError, match="found no file"):
            open_camera("video:" + str(tmp_path / name))


class FakeCapture:
    """A container of ``plan``: milliseconds of a frame, or None for a read that fails."""

    def __init__(self, plan, count, size=(8, 6)):
        self._plan, self._values = list(plan), {cv2.CAP_PROP_FRAME_COUNT: count, cv2.CAP_PROP_FPS: 10.0}
        self._values.update({cv2.CAP_PROP_FRAME_WIDTH: size[0], cv2.CAP_PROP_FRAME_HEIGHT: size[1]})

    def isOpened(self):
        return True

    def get(self, setting):
        return self._values[setting]

    def read(self):
        found = self._plan.pop(0) if self._plan else None
        if found == "error":
            raise cv2.error("out of memory")
        if found is None:
            return False, None
        self._values[cv2.CAP_PROP_POS_MSEC] = found
        return True, np.zeros((6, 8, 3), np.uint8)

    def release(self):
        pass


MP4, MATROSKA = b"\0\0\0\x20ftypisom", b"\x1a\x45\xdf\xa3" + b"\0" * 8


@pytest.mark.parametrize(
    ("start", "count", "plan", "indices", "lost"),
    [
        (MP4, 5, [0, 100, None, 300, 400], [0, 1, 3, 4], 1),
        (MP4, 5, [0, "error", 200, 300, 400], [0, 2, 3, 4], 1),
        (MP4, 5, [None, 100, 200], [1, 2], 3),
        (MP4, 4, [0, 100, 400, 500], [0, 1, 2, 3], 0),  # a pause of a video without a steady rate
        (MP4, 6, [0, 100, 400, 500], [0, 1, 2, 3], 2),
        (MATROSKA, 6, [0, 100, 400, 500], [0, 1, 4, 5], 2),
        (MATROSKA, 9, [7000, 7100, 7400, 7500], [0, 1, 4, 5], 5),
        (MATROSKA, 60, [0, 100, 250, 900, 1000], [0, 1, 2, 3, 4], 55),  # not steady: counted
        (MATROSKA, 5, [0, 100, 200, 300], [0, 1, 2, 3], 0),  # the count is estimated: one too many
        (MATROSKA, -1.9e14, [float("nan"), 100, None, 300], [0, 1, 3], 1),
    ],
)
def test_numbers_and_losses_of_a_container(start, count, plan, indices, lost, monkeypatch, tmp_path, capsys):
    (tmp_path / "v").write_bytes(start + b"\0" * 50)
    monkeypatch.setattr(module, "open_capture", lambda *_: FakeCapture(plan, count))
    camera = open_camera("video:" + str(tmp_path / "v"))
    assert seen(camera)[0] == indices
    assert camera.skipped == lost
    assert capsys.readouterr().err.count("warning: lost {} frames".format(lost)) == bool(lost)


def test_frames_beyond_the_bound_are_refused_before_one_is_decoded(monkeypatch, tmp_path):
    (tmp_path / "v").write_bytes(MP4)
    monkeypatch.setattr(module, "open_capture", lambda *_: FakeCapture([0], 1, (40000, 40000)))
    with pytest.raises(DataError, match="could not decode"):
        open_camera("video:" + str(tmp_path / "v"))


@pytest.mark.parametrize("piece", [7, 1000, 1 << 20])
@pytest.mark.parametrize(
    ("spoil", "numbers"),
    [
        (lambda parts: None, []),
        (lambda parts: parts.__setitem__(7, parts[7][:2] + bytes(len(parts[7]) - 4) + parts[7][-2:]), [7]),
        (lambda parts: parts.__setitem__(7, bytes(2) + parts[7][2:]), [7]),
        (lambda parts: parts.__setitem__(7, parts[7][: len(parts[7]) // 2]), [7]),
        (lambda parts: parts.__setitem__(7, parts[7][:-2]), [7]),
        (lambda parts: parts.__setitem__(7, parts[7][:200] + bytes(50) + parts[7][250:]), [7]),
        (lambda parts: parts.__setitem__(COUNT - 1, parts[-1][:-5]), [COUNT - 1]),
        (lambda parts: parts.insert(7, b"--boundary\r\nContent-Type: image/jpeg\r\n\r\n"), []),
        (lambda parts: parts.append(bytes(5000)), []),
    ],
)
def test_a_raw_mjpeg_file_keeps_the_numbers_of_its_pictures(spoil, numbers, piece, monkeypatch):
    monkeypatch.setattr(mjpeg, "PIECE", piece)
    parts = pictures()
    spoil(parts)
    reader = MjpegReader(io.BytesIO(b"".join(parts)))
    found = list(iter(reader.read, None))
    assert [index for index, _ in found] == without(*numbers)
    assert [int(pixels.mean() / 12 + 0.5) for _, pixels in found] == without(*numbers)
    assert reader.lost == len(numbers)


def test_a_raw_mjpeg_file_as_a_source(tmp_path, capsys):
    parts = pictures()
    parts[3] = parts[3][:300]
    (tmp_path / "v.mjpeg").write_bytes(b"".join(parts))
    camera = open_camera("video:" + str(tmp_path / "v.mjpeg"))
    assert seen(camera) == (without(3), without(3))
    assert camera.skipped == 1
    assert "lost 1 frames" in capsys.readouterr().err


def test_an_endless_picture_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(mjpeg, "MAX_PICTURE_BYTES", 5000)
    monkeypatch.setattr(mjpeg, "PIECE", 1000)
    first, second = pictures()[:2]
    reader = MjpegReader(io.BytesIO(first[:-2] + bytes(50000) + second))
    indices = [index for index, _ in iter(reader.read, None)]
    assert indices == [reader.lost]  # the second one
