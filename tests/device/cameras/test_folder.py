"""Folders of images as people have them: bad files, odd names, links, other files."""

import os

import cv2
import numpy as np
import pytest

from device.cameras.open import open_camera
from device.errors import DataError

PICTURE = cv2.imencode(".png", np.full((6, 8, 3), 9, np.uint8))[1].tobytes()


def put(folder, name, content=PICTURE):
    """Write a file whose name is bytes, as in a folder that another system filled."""
    path = os.path.join(os.fsencode(str(folder)), name)
    with open(path, "wb") as file:
        file.write(content)
    return path


def every(camera):
    with camera:
        return list(iter(camera.read, None))


def bomb():
    """A PNG whose header says 100,000 x 100,000, with its checksum."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">II", 100000, 100000) + PICTURE[24:29]
    return PICTURE[:12] + header + struct.pack(">I", zlib.crc32(header)) + PICTURE[33:]


BAD = {
    "a header of 10 gigapixels": bomb,
    "cut in half": lambda: PICTURE[: len(PICTURE) // 2],
    "empty": lambda: b"",
    "text": lambda: b"text",
    "a cut JPEG": lambda: cv2.imencode(".jpg", np.full((60, 80, 3), 9, np.uint8))[1].tobytes()[:-20],
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_picture_between_two_good_ones_costs_itself_alone(name, tmp_path, capsys):
    put(tmp_path, b"1.png")
    put(tmp_path, b"2.png", BAD[name]())
    put(tmp_path, b"3.png")
    camera = open_camera("dir:" + str(tmp_path))
    assert [frame.index for frame in every(camera)] == [0, 2]
    assert camera.skipped == 1
    told = capsys.readouterr().err
    assert told.startswith("warning: could not read ")
    assert told.count("2.png") == 1
    assert told.endswith("; it is skipped\n")


def test_names_that_are_no_text_are_read_and_shown_escaped(tmp_path, capsys):
    put(tmp_path, b"caf\xe9.png")
    put(tmp_path, b"\x1b[2J\n.png", b"none")
    camera = open_camera("dir:" + str(tmp_path))
    assert len(every(camera)) == 1
    told = capsys.readouterr().err
    assert "\\x1b[2J\\n.png" in told
    assert len(told.splitlines()) == 1


def test_a_folder_whose_name_is_no_text(tmp_path):
    folder = os.path.join(os.fsencode(str(tmp_path)), b"\xe9\x1b[2J")
    os.mkdir(folder)
    uri = "dir:" + os.fsdecode(folder)
    with pytest.raises(DataError, match=r"found no image in .*\\xe9\\x1b\[2J"):
        open_camera(uri)
    put(os.fsdecode(folder), b"1.png")
    camera = open_camera(uri)
    assert camera.describe().isprintable()
    assert len(every(camera)) == 1


def test_what_is_ignored_is_counted_and_told_once(tmp_path, capsys):
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    put(tmp_path / "elsewhere", b"never.png")
    for name in (
        b"1.PNG",
        b"2.webp",
        b"3.jfif",
        b"4.tif",
        b"notes.txt",
        b"raw.CR2",
    ):  # suffixes do not say what is inside
        put(folder, name)
    put(folder / "more", b"5.gif")
    os.symlink(str(folder / "1.PNG"), str(folder / "6.png"))  # to a file: read
    os.symlink(str(tmp_path / "elsewhere"), str(folder / "link"))  # to a folder: it could lead in circles
    os.mkfifo(str(folder / "7.png"))
    assert len(every(open_camera("dir:" + str(folder)))) == 6
    assert capsys.readouterr().err == (
        "warning: found in {}, beside 6 images, 3 other files, 1 links to folders; they are ignored\n".format(folder)
    )


def test_a_folder_of_other_files_says_what_is_there(tmp_path):
    put(tmp_path, b"a.heic")
    with pytest.raises(
        DataError, match=r"found no image in .*, but 1 other files; expected files whose names end with \.png"
    ):
        open_camera("dir:" + str(tmp_path))


def test_a_picture_that_is_gone_since_the_folder_was_listed(tmp_path, capsys):
    put(tmp_path, b"1.png")
    put(tmp_path, b"2.png")
    camera = open_camera("dir:" + str(tmp_path))
    (tmp_path / "1.png").unlink()
    assert [frame.index for frame in every(camera)] == [1]
    assert "No such file or directory" in capsys.readouterr().err
