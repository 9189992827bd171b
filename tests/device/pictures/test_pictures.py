"""Pictures from files: whole and within bounds, or refused before OpenCV sees them."""

import os
import struct
import threading
import zlib

import cv2
import numpy as np
import pytest

from device.errors import DataError
from device.pictures import formats, read
from device.pictures.formats import FORMATS
from device.pictures.stderr import with_messages


def photo(height=45, width=61):
    noise = np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 2)


# one white pixel, by hand: not every OpenCV can write it
GIF = bytes.fromhex("47494638396101000100800000ffffffffffff2c00000000010001000002024401003b")


def encoded(suffix, *settings, grey=False):
    content = cv2.imencode(suffix, photo()[:, :, 0] if grey else photo(), list(settings))[1].tobytes()
    assert content
    return content


def png(rows, interlaced):
    """3 x 2 pixels in grey; every checksum is right."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def interlaced_png():
    """In the four of the seven passes that have pixels at this size."""
    return png(b"\0\x10" + b"\0\x20" + b"\0\x30" + b"\0\x40\x50\x60", 1)


WHOLE = {
    "jpeg": lambda: encoded(".jpg"),
    "grey jpeg": lambda: encoded(".jpg", grey=True),
    "progressive jpeg": lambda: encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "jpeg with restarts": lambda: encoded(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "png": lambda: encoded(".png"),
    "interlaced png": interlaced_png,
    "png of bits": lambda: encoded(".png", cv2.IMWRITE_PNG_BILEVEL, 1, grey=True),
    "webp": lambda: encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
    "lossless webp": lambda: encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    "tiff": lambda: encoded(".tif"),
    "raw tiff": lambda: encoded(".tif", cv2.IMWRITE_TIFF_COMPRESSION, 1),
    "deflated tiff": lambda: encoded(".tif", cv2.IMWRITE_TIFF_COMPRESSION, 8),
    "bmp": lambda: encoded(".bmp"),
    "grey bmp": lambda: encoded(".bmp", grey=True),
    "ppm": lambda: encoded(".ppm"),
}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_whole_picture_is_decoded_as_by_opencv(name):
    content = WHOLE[name]()
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(read.decode_picture(content), expected)
    np.testing.assert_array_equal(read.decode_picture(content + b"more"), expected)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_picture_of_which_anything_is_missing_is_refused(name):
    content = WHOLE[name]()
    for kept in sorted({*range(0, len(content), max(1, len(content) // 60)), len(content) - 1, len(content) - 2}):
        with pytest.raises(ValueError, match="cut off|damaged|missing|empty|no p|header says"):
            read.decode_picture(content[:kept])


def test_the_first_picture_of_a_gif_where_this_opencv_can():
    if cv2.imdecode(np.frombuffer(GIF, np.uint8), cv2.IMREAD_COLOR) is None:
        with pytest.raises(ValueError, match="GIF: OpenCV .* cannot decode it"):
            read.decode_picture(GIF)
    else:
        assert read.decode_picture(GIF).tolist() == [[[255, 255, 255]]]
    for kept in range(1, len(GIF) - 1):  # the last byte ends the file, not the picture
        with pytest.raises(ValueError, match="no picture|cut off|damaged"):
            read.decode_picture(GIF[:kept])


@pytest.mark.parametrize("name", ["jpeg", "grey jpeg", "progressive jpeg", "jpeg with restarts"])
def test_compressed_data_that_ends_early_is_a_damaged_picture(name):
    content = WHOLE[name]()
    for missing in (
        content[: len(content) // 2] + b"\xff\xd9",
        content[: len(content) // 2] + content[len(content) // 2 + 150 :],
    ):
        with pytest.raises(ValueError, match="JPEG: .*damaged"):
            read.decode_picture(missing)


def test_padding_before_a_marker_is_no_damage(capfd):
    content = WHOLE["jpeg with restarts"]()
    restart = content.index(b"\xff\xd1")
    padded = content[:restart] + b"\0\0" + content[restart:-2] + b"\0" + content[-2:]
    np.testing.assert_array_equal(read.decode_picture(padded), read.decode_picture(content))
    assert capfd.readouterr().err == ""


def test_checksums_of_a_png_are_compared():
    content = bytearray(WHOLE["png"]())
    content[len(content) // 2] ^= 1
    with pytest.raises(ValueError, match="PNG: a checksum is wrong"):
        read.decode_picture(bytes(content))


@pytest.mark.parametrize(("rows", "interlaced"), [(b"\0abc", 0), (b"\0abc\0d", 0), (b"", 0), (b"\0a\0b", 1)])
def test_a_png_with_fewer_rows_than_its_header_says_is_refused(rows, interlaced):
    assert read.decode_picture(png(b"\0abc\0def", 0)).shape == (2, 3, 3)
    with pytest.raises(ValueError, match="PNG: OpenCV .* cannot decode it"):
        read.decode_picture(png(rows, interlaced))


SIZE = {
    "jpeg": (lambda content: content.index(b"\xff\xc0") + 5, ">HH", (65535, 65535)),
    "png": (lambda content: 16, ">II", (100000, 100000)),
    "webp": (lambda content: 26, "<HH", (0x3FFF, 0x3FFF)),
    "bmp": (lambda content: 18, "<ii", (100000, -100000)),
    "ppm": (lambda content: 3, "5s", (b"99999",)),
    "raw tiff": (lambda content: content.index(struct.pack("<HHI", 256, 3, 1)), "<HHII", (256, 4, 1, 1 << 30)),
}


@pytest.mark.parametrize("name", sorted(SIZE))
def test_a_header_beyond_the_bound_is_refused_before_anything_is_decoded(name, monkeypatch):
    content = bytearray(WHOLE[name]())
    find, form, values = SIZE[name]
    struct.pack_into(form, content, find(bytes(content)), *values)
    monkeypatch.setattr(read.cv2, "imdecode", None)
    with pytest.raises(ValueError, match="header says .* pixels|header is damaged"):
        read.decode_picture(bytes(content))


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_changed_picture_is_decoded_or_refused_and_nothing_else(name):
    content, random = WHOLE[name](), np.random.RandomState(1)
    for _ in range(60):
        changed = bytearray(content)
        for place in random.randint(0, min(len(content), random.choice([40, 300, 1 << 20])), random.choice([1, 2, 8])):
            changed[place] = random.choice([0, 1, 127, 255, random.randint(256)])
        try:
            assert read.decode_picture(bytes(changed)).dtype == np.uint8
        except ValueError as error:
            assert len(str(error)) < 400


def test_formats_that_nobody_checked_do_not_reach_opencv(monkeypatch):
    monkeypatch.setattr(read.cv2, "imdecode", None)
    for content in (
        b"#?RADIANCE\n\n-Y 1 +X 1\n\1\1\1\1",
        b"\x76\x2f\x31\x01" + b"\0" * 50,
        b"text",
        b"Pf\n1 1\n-1\n\0\0\0\0",
    ):
        with pytest.raises(ValueError, match="no picture in it"):
            read.decode_picture(content)


def test_a_picture_is_turned_as_the_camera_was():
    content = WHOLE["jpeg"]()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    turned = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    assert read.decode_picture(content).shape == (45, 61, 3)
    assert read.decode_picture(turned).shape == (61, 45, 3)


@pytest.mark.parametrize(
    "name", [b"caf\xe9.png", b"colon:.png", b"\x1b[2J.png", "\u732b.png".encode("utf-8"), b"100%d.png"]
)
def test_no_name_reaches_opencv(name, tmp_path):
    path = os.path.join(os.fsencode(str(tmp_path)), name)
    with open(path, "wb") as file:
        file.write(WHOLE["png"]())
    assert read.read_picture(os.fsdecode(path)).shape == (45, 61, 3)
    with open(path, "wb") as file:
        file.write(b"none")
    with pytest.raises(DataError, match="could not read .* as an image .no picture in it.") as caught:
        read.read_picture(os.fsdecode(path))
    assert str(caught.value).isprintable()


def test_what_is_no_regular_file_or_too_large_is_refused(tmp_path, monkeypatch):
    os.mkfifo(str(tmp_path / "fifo.png"))
    (tmp_path / "folder.png").mkdir()
    for name in ("fifo.png", "folder.png", "absent.png"):
        with pytest.raises(DataError, match="could not read .*{}".format(name)):
            read.read_picture(str(tmp_path / name))
    monkeypatch.setattr(read, "MAX_FILE_BYTES", 1000)
    (tmp_path / "large.png").write_bytes(b"\0" * 1001)
    with pytest.raises(DataError, match="1001 bytes, of which at most 1000 are read"):
        read.read_picture(str(tmp_path / "large.png"))


def test_what_opencv_throws_is_translated(monkeypatch):
    def fail(*_):
        raise cv2.error("OpenCV failed\nin two lines")

    monkeypatch.setattr(read.cv2, "imdecode", fail)
    with pytest.raises(ValueError, match=r"PNG: OpenCV [0-9.]+.* failed on it"):
        read.decode_picture(WHOLE["png"]())


def test_messages_of_libraries_are_told_from_those_of_other_threads(capfd):
    def work():
        thread = threading.Thread(target=os.write, args=(2, b"warning: of another thread\n"))
        thread.start()
        thread.join()
        os.write(2, b"Corrupt JPEG data: premature end of data segment\n")
        return 7

    assert with_messages(work) == (7, ["Corrupt JPEG data: premature end of data segment"])
    assert capfd.readouterr().err == "warning: of another thread\n"


def test_without_stderr_pictures_are_read_all_the_same(monkeypatch):
    def closed(_):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "dup", closed)
    assert read.decode_picture(WHOLE["png"]()).shape == (45, 61, 3)


def test_every_suffix_has_a_format():
    assert set(formats.SUFFIXES) >= {
        ".png",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".bmp",
        ".ppm",
        ".webp",
        ".gif",
        ".tif",
        ".tiff",
    }
    assert len(FORMATS) == 7
