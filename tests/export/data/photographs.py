"""Small photographs for tests, each of a content of its own."""

import itertools

import cv2
import numpy as np

_numbers = itertools.count()


def write(folder, count, start=0):
    """``count`` images of 8 x 8 in one colour, named 000.png and so on; red is the number in the name."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(start, start + count):
        green, blue = divmod(next(_numbers) % 65536, 256)
        cv2.imwrite(str(folder / f"{index:03}.png"), np.full((8, 8, 3), (blue, green, index % 256), np.uint8))


def class_of(file):
    """Of a path without folders of splits."""
    return file.split("/")[0]
