"""Where the compressed data of a JPEG picture end, and pictures that many threads decode."""

import re
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from device.pictures import jpeg
from device.pictures.read import damage, decode_picture, decode_unwatched, size_unwatched
from device.pictures.stderr import with_messages

ENDS = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 16])
def test_the_end_is_the_first_marker_that_is_none_of_the_data(monkeypatch, piece):
    monkeypatch.setattr(jpeg, "PIECE", piece)
    random = np.random.RandomState(0)
    for _ in range(300):
        content = bytes(random.choice([0, 1, 0xFF, 0xFF, 0xD0, 0xD7, 0xD8, 0xD9], random.randint(1, 30), p=[.3, .1, .15, .15, .1, .1, .05, .05]).astype(np.uint8))  # fmt: skip
        for place in (0, 1, 2):
            match = ENDS.search(content, place)
            if match is None:
                with pytest.raises(jpeg.CutOffError):
                    jpeg.scan_end(content, place)
            else:
                assert jpeg.scan_end(content, place) == match.end() - 2


def picture(height, width):
    return cv2.GaussianBlur(np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8), (5, 5), 2)


def turned(content):
    """A JPEG file that EXIF data turn by a quarter."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    return content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + content[2:]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (60, 41), (8, 2000)])
def test_sizes_without_all_pixels(suffix, shape):
    content = cv2.imencode(suffix, picture(*shape))[1].tobytes()
    assert size_unwatched(content) == shape == decode_unwatched(content).shape[:2]
    if suffix == ".jpg":
        assert size_unwatched(turned(content)) == shape[::-1] == decode_unwatched(turned(content)).shape[:2]


def test_threads_find_the_same_damage():
    whole = cv2.imencode(".jpg", picture(200, 200))[1].tobytes()
    middle = len(whole) // 2
    spoilt = whole[:middle] + bytes(60) + whole[middle + 60 :]
    with pytest.raises(ValueError, match="JPEG: it is damaged"):
        decode_picture(spoilt)
    for work in (decode_unwatched, size_unwatched):
        with ThreadPoolExecutor(3) as pool:
            _, messages = with_messages(lambda work=work: list(pool.map(work, [whole, spoilt, whole])))
            assert "Corrupt JPEG data" in damage(messages)
            _, messages = with_messages(lambda work=work: list(pool.map(work, [whole] * 3)))
            assert not damage(messages)
        with pytest.raises(ValueError, match="JPEG: it is cut off"):
            work(whole[:middle])
        for nothing in (b"", b"text"):
            with pytest.raises(ValueError, match="an empty file|no picture in it"):
                work(nothing)
