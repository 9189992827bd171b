"""Photographs that a network is trained on and frames that a device sees become the same pixels."""

import cv2
import numpy as np
import pytest

from device.bundle.reader import load_bundle
from device.cameras.open import open_camera
from device.loop.preprocess import Preprocessor
from device.pictures.fit import FITS
from device.pictures.read import read_picture
from export.data import datasets
from tests import tiny

SHAPES = ((480, 640, 3), (481, 637, 3), (640, 480, 3), (9, 13, 3), (300, 300), (20, 400, 3))
"""A camera's frames, odd sizes, portrait, smaller than the network, grey, and narrow."""


def photographs(folder):
    """Two classes with photographs of all SHAPES in each split."""
    generator = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in ("cup", "bowl"):
            (folder / split / name).mkdir(parents=True)
            for number, shape in enumerate(SHAPES):
                frame = cv2.GaussianBlur(generator.integers(0, 256, shape, np.uint8), (5, 5), 2)
                cv2.imwrite(str(folder / split / name / f"{number}.png"), frame)


@pytest.fixture(scope="module", params=FITS)
def bundle(request, tmp_path_factory):
    """Of a network for 16 x 16 pixels that says how frames are fitted."""
    network = tiny.network()
    folder = tmp_path_factory.mktemp("bundle") / request.param
    tiny.write_bundle("tiny", network, tiny.card(network), tiny.TABLE, folder, tiny.BundleSettings(split=2),
                      tiny.frames(), fit=request.param)  # fmt: skip
    return load_bundle(str(folder))


def test_training_and_device_agree_to_the_pixel(bundle, tmp_path):
    photographs(tmp_path)
    data = datasets.load(tmp_path, bundle.input_shape[1:], bundle.fit)
    assert data.fit == bundle.fit
    prepare = Preprocessor(bundle)
    for part in (data.train, data.calibration, data.test):
        assert part.pixels.shape == (2 * len(SHAPES), 16, 16, 3)
        for file, seen in zip(part.files, part.pixels, strict=True):
            frame = cv2.imread(str(tmp_path / file), cv2.IMREAD_UNCHANGED)  # grey stays grey, as from a grey camera
            frame = frame if frame.ndim == 2 else np.ascontiguousarray(frame[:, :, ::-1])
            np.testing.assert_array_equal(prepare.resize(frame), seen)


def test_the_folder_source_sees_what_training_saw(bundle, tmp_path):
    photographs(tmp_path)
    data = datasets.load(tmp_path, bundle.input_shape[1:], bundle.fit)
    prepare = Preprocessor(bundle)
    with open_camera(f"dir:{tmp_path / 'test'}") as camera:
        frames = [prepare.resize(camera.read().pixels) for _ in data.test.labels]
    for file, seen in zip(data.test.files, data.test.pixels, strict=True):
        place = sorted(data.test.files).index(file)
        np.testing.assert_array_equal(frames[place], seen)


def test_a_manifest_says_how_frames_are_fitted(bundle):
    assert bundle.manifest["input"]["fit"] == bundle.fit
    assert bundle.manifest.get("requires", []) == ([] if bundle.fit == "stretch" else ["fit"])


def test_crop_takes_the_middle_of_a_photograph_that_exif_turns(tmp_path):
    """EXIF data turn the photograph: its left edge in the file is what a viewer sees as its top."""
    generator = np.random.default_rng(0)
    upright = cv2.GaussianBlur(generator.integers(0, 256, (60, 40, 3), np.uint8), (5, 5), 2)
    lying = cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE)
    orientation = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # 6: turn it clockwise
    content = cv2.imencode(".jpg", lying, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    turned = content[:2] + b"\xff\xe1" + (len(orientation) + 2).to_bytes(2, "big") + orientation + content[2:]
    for name in ("cup", "bowl"):
        for split in ("train", "val", "test"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.jpg").write_bytes(turned + name.encode() + split.encode())
    pixels = read_picture(str(tmp_path / "train" / "cup" / "0.jpg"))
    assert pixels.shape == (60, 40, 3)
    data = datasets.load(tmp_path, (40, 40), "crop")
    np.testing.assert_array_equal(data.train.pixels[0], pixels[10:50])
    assert abs(data.train.pixels[0].astype(int) - upright[10:50, :, ::-1]).mean() < 12
