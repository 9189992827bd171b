"""A folder of images as a data set."""

import os
import zlib

import cv2
import numpy as np
import pytest

from device.errors import DataError
from export.data import datasets

SIZE = (32, 32)


def write_images(folder, count):
    """Images of one colour, another in each folder, whatever the path of the temporary folder is."""
    folder.mkdir(parents=True)
    blue, green, *_ = zlib.crc32("/".join(folder.parts[-2:]).encode()).to_bytes(4, "little")
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:02}.png"), np.full((20, 30, 3), (blue, green, 10 * index), np.uint8))


def test_images_whose_names_are_no_text_and_one_that_is_cut_off(tmp_path):
    for name in ("cup", "bowl"):
        write_images(tmp_path / name, 20)
        os.rename(tmp_path / name / "07.png", os.fsencode(tmp_path / name) + b"/caf\xe9.png")
    assert sum(len(part.labels) for part in datasets.load(tmp_path, SIZE)[:3]) == 40
    cut = tmp_path / "cup" / "03.png"
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"could not read 1 of 40 images in .*: cup/03\.png .PNG: it is cut off"):
        datasets.load(tmp_path, SIZE)


def test_image_folders_split_by_themselves_or_by_name(tmp_path):
    for name in ("cup", "bowl"):
        write_images(tmp_path / "flat" / name, 20)
        for split in ("train", "calibration", "test"):
            write_images(tmp_path / "named" / split / name, 2)
    data = datasets.load(tmp_path / "flat", (16, 24))
    assert data.classes == ("bowl", "cup")
    assert sum(len(part.labels) for part in data[:3]) == 40
    assert data.test.pixels.shape[1:] == (16, 24, 3)
    assert data.test.pixels[0, 0, 0, 0] == 10 * int(data.test.files[0][-6:-4])  # red, in RGB
    named = datasets.load(tmp_path / "named", SIZE)
    assert [len(part.labels) for part in named[:3]] == [4, 4, 4]
    (tmp_path / "flat" / "cup" / "03.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"could not read .*03\.png"):
        datasets.load(tmp_path / "flat", SIZE)


def test_a_folder_with_the_names_of_cifar10_is_still_a_folder(tmp_path):
    for name in ("airplane", "automobile"):
        write_images(tmp_path / name, 10)
    data = datasets.load(tmp_path, SIZE)
    assert data.facts().source == "images of a folder"
    assert data.test_title() == "test images"
