"""The camera's picture and the magnifying glass."""

import threading
import time

import cv2
import numpy as np
import pytest

from device.defence.defq import DefQ
from device.defence.gate import Gate
from device.preview.pictures import Painter, Picture
from device.preview.recorder import Recorder
from tests.device.preview.fakes import shot, write


@pytest.mark.parametrize(
    ("shape", "size"),
    [((480, 640, 3), (480, 640)), ((1080, 1920, 3), (360, 640)), ((16, 16, 3), (384, 384)), ((16, 16), (384, 384)),
     ((16, 16, 1), (384, 384)), ((16, 160, 3), (64, 640)), ((2000, 20, 3), (640, 6))],
)  # fmt: skip
def test_camera_picture_is_a_jpeg_of_a_size_for_a_page(bundle, shape, size):
    pixels = np.full(shape, 90, np.uint8)
    content = Painter(bundle).camera(shot(pixels=pixels, seen=np.full((16, 16, 3), 90, np.uint8)))
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (*size, 3)
    if min(shape[:2]) >= 16:
        assert abs(int(image[size[0] // 5, size[1] // 2, 0]) - 90) < 6


def test_camera_picture_marks_source_attack_and_defq(bundle):
    painter = Painter(bundle)

    def image(**fields):
        return cv2.imdecode(np.frombuffer(painter.camera(shot(**fields)), np.uint8), cv2.IMREAD_COLOR)

    def has(picture, colour):
        return (np.abs(picture.astype(int) - colour).max(-1) < 25).sum() > 200

    edge, host, fallback = (178, 196, 45), (60, 146, 250), (175, 163, 156)
    attack, defq = (120, 96, 240), (250, 165, 96)
    for source, colour in (("edge", edge), ("host", host), ("fallback", fallback)):
        assert has(image(source=source), colour)
        assert not has(image(source=source), attack)
    assert has(image(seen=np.full((16, 16, 3), 108, np.uint8)), attack)
    assert not has(image(), defq)
    assert has(image(quantised=True), defq)


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
    """With a gate it is the gate's, but for frames that were quantised whatever they look like (auto)."""
    gate = Gate(0.0, {5: 0.5}, np.full((8, 8), 40, np.float32))
    painter = Painter(bundle._replace(gate=gate))
    for attacked, table in ((True, gate.table), (None, bundle.table)):
        one = shot(pixels=frames[0], quantised=True)
        content = painter.lens(one._replace(decision=one.decision._replace(attacked=attacked)))
        shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, 48:, ::-1]
        np.testing.assert_array_equal(shown, DefQ(table).planes(frames[0]).transpose(1, 2, 0))


def test_picture_is_encoded_once_for_all_viewers_and_not_too_often():
    recorder, drawn = Recorder(5), []

    def render(newest):
        drawn.append(newest.number)
        return b"%d" % newest.number

    picture = Picture(recorder, render, fps=20)
    assert picture.newer_than(0, 0.01) == (0, b"")
    write(recorder, 1)
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
        write(recorder, 3)
        number, _ = picture.newer_than(number, 1.0)
        assert number == recorder.newest.number
    assert len(drawn) == 5
    assert time.monotonic() - started > 0.19
    assert picture.newer_than(recorder.newest.number, 0.02) == (recorder.newest.number, b"%d" % recorder.newest.number)
