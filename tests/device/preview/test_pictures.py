"""The camera's picture and the magnifying glass."""

import threading
import time

import cv2
import numpy as np
import pytest

from device.defence.defq import DefQ
from device.defence.gate import Gate, GateStage
from device.preview.pictures import Painter, Picture
from device.preview.preview_sink import PreviewSink
from tests.device.preview.fakes import shot, write


@pytest.mark.parametrize(
    ("shape", "size"),
    [((480, 640, 3), (480 + 64, 740)), ((1080, 1920, 3), (360 + 64, 740)), ((16, 16, 3), (384 + 64, 740)),
     ((16, 16), (384 + 64, 740)), ((16, 16, 1), (384 + 64, 740)), ((16, 160, 3), (240 + 64, 740)),
     ((2000, 20, 3), (640 + 71, 740))],
)  # fmt: skip
def test_camera_picture_is_a_jpeg_of_a_size_for_a_page(bundle, shape, size):
    pixels = np.full(shape, 90, np.uint8)
    image = camera_picture(bundle, pixels=pixels, seen=np.full((16, 16, 3), 90, np.uint8))
    assert image.shape == (*size, 3)
    assert abs(int(image[120, 370, 0]) - 90) < 6


def camera_picture(bundle, **fields):
    content = Painter(bundle).camera(shot(**fields))
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def has(picture, colour):
    return (np.abs(picture.astype(int) - colour).max(-1) < 25).sum() > 100


def test_small_frames_keep_their_pixels_as_squares(bundle, frames):
    image = camera_picture(bundle, pixels=frames[0])
    shown = image[12:384:24, 178 + 12 : 178 + 384 : 24, ::-1]  # the middle of each square
    assert np.abs(shown.astype(int) - frames[0]).mean() < 4
    square = image[24:48, 178 + 24 : 178 + 48].astype(int)
    assert np.abs(square[4:-4, 4:-4] - square[12, 12]).max() < 12  # no shades between neighbours
    assert has(image[:384, 174:180], (186, 171, 158))  # with a frame around it


def test_camera_picture_marks_source_attack_and_defq(bundle):
    edge, host, fallback = (178, 196, 45), (60, 146, 250), (175, 163, 156)
    attack, defq = (208, 111, 238), (250, 165, 96)
    for source, colour in (("edge", edge), ("host", host), ("fallback", fallback)):
        assert has(camera_picture(bundle, source=source), colour)
        assert not has(camera_picture(bundle, source=source), attack)
    assert has(camera_picture(bundle, attacked=True), attack)
    assert not has(camera_picture(bundle), defq)
    assert has(camera_picture(bundle, quantised=True), defq)


def test_camera_picture_marks_a_wrong_class(bundle):
    red = (94, 107, 255)
    assert has(camera_picture(bundle, truth=1, label=0), red)
    assert not has(camera_picture(bundle, truth=1, label=1), red)
    assert not has(camera_picture(bundle, truth=None), red)


def test_lens_shows_clean_attacked_difference_and_what_went_in(bundle, frames):
    clean = frames[0]
    seen = np.clip(clean.astype(int) + np.where(np.arange(16)[:, None, None] % 2, 5, -5), 0, 255).astype(np.uint8)
    content = Painter(bundle).lens(shot(pixels=clean, seen=seen, quantised=True))
    strip = cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    parts = np.split(strip, 4, axis=1)
    np.testing.assert_array_equal(parts[0], clean)
    np.testing.assert_array_equal(parts[1], seen)
    np.testing.assert_array_equal(parts[2], np.clip(128 + 12 * (seen.astype(int) - clean), 0, 255))
    np.testing.assert_array_equal(parts[3], DefQ(bundle.table).planes(seen).transpose(1, 2, 0))
    plain = cv2.imdecode(np.frombuffer(Painter(bundle).lens(shot(pixels=clean)), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(plain[:, 48:], plain[:, :16])
    assert (plain[:, 32:48] == 128).all()


def test_lens_shows_the_table_that_a_frame_was_quantised_with(bundle, frames):
    """With a gate this is the table of the frame's stage; under auto, where all frames are quantised, it is that of the bundle."""
    gate = Gate([GateStage(0.0, {5: 0.5}, np.full((8, 8), 40, np.float32))])
    painter = Painter(bundle._replace(gate=gate))
    for attacked, table in ((True, gate.stages[0].table), (None, bundle.table)):
        one = shot(pixels=frames[0], quantised=True)
        content = painter.lens(one._replace(decision=one.decision._replace(attacked=attacked)))
        shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, 48:, ::-1]
        np.testing.assert_array_equal(shown, DefQ(table).planes(frames[0]).transpose(1, 2, 0))


def test_picture_is_encoded_once_for_all_viewers_and_not_too_often():
    sink, drawn = PreviewSink([0.1, 0.2, 0.4, 0.7, 1.0], 2), []

    def render(newest):
        drawn.append(newest.number)
        return b"%d" % newest.number

    picture = Picture(sink, render, fps=20)
    assert picture.newer_than(0, 0.01) == (0, b"")
    write(sink, 1)
    assert not drawn  # nobody looks
    started = time.monotonic()
    results = []
    viewers = [threading.Thread(target=lambda: results.append(picture.newer_than(0, 1.0))) for _ in range(5)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert results == [(1, b"1")] * 5
    assert drawn == [1]
    number = 1
    for _ in range(4):
        write(sink, 3)
        number, _ = picture.newer_than(number, 1.0)
        assert number == sink.newest.number
    assert len(drawn) == 5
    assert time.monotonic() - started > 0.19
    assert picture.newer_than(sink.newest.number, 0.02) == (sink.newest.number, b"%d" % sink.newest.number)
