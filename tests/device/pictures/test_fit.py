"""Crop, letterbox and stretch: sizes, places and pixels."""

import hashlib
import platform

import cv2
import numpy as np
import pytest

from device.pictures.fit import FITS, GREY, fit_picture


def picture(*shape):
    noise = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 2).reshape(shape)


SHAPES = [(480, 640, 3), (640, 480, 3), (481, 637, 3), (20, 2000, 3), (2000, 20, 3), (50, 70, 3), (1, 1, 3), (33, 47), (33, 47, 1)]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(96, 96), (32, 32), (160, 224)])
@pytest.mark.parametrize("fit", FITS)
def test_any_size_becomes_that_of_the_network(shape, size, fit):
    fitted = fit_picture(picture(*shape), size, fit)
    assert fitted.shape == size + shape[2:]
    assert fitted.dtype == np.uint8
    assert fitted.flags.c_contiguous


@pytest.mark.parametrize("fit", FITS)
def test_a_picture_of_the_right_size_stays_as_it_is(fit):
    pixels = picture(96, 96, 3)
    assert fit_picture(pixels, (96, 96), fit) is pixels


@pytest.mark.parametrize("fit", FITS)
def test_one_channel_is_fitted_as_three(fit):
    """A camera that delivers grey, and a grey photograph, which is read as RGB."""
    grey = picture(48, 65)
    np.testing.assert_array_equal(fit_picture(grey, (32, 32), fit), fit_picture(np.stack([grey] * 3, 2), (32, 32), fit)[:, :, 1])  # fmt: skip


@pytest.mark.parametrize(("shape", "window"), [
    ((480, 640), (slice(None), slice(80, 560))),
    ((640, 480), (slice(80, 560), slice(None))),
    ((8, 13), (slice(None), slice(2, 10))),  # of five columns two go on the left, three on the right
])  # fmt: skip
def test_crop_takes_the_middle(shape, window):
    pixels = picture(*shape, 3)
    inner = np.ascontiguousarray(pixels[window])
    for size in ((96, 96), (8, 8)):
        np.testing.assert_array_equal(fit_picture(pixels, size, "crop"), fit_picture(inner, size, "stretch"))


def test_crop_to_other_proportions():
    pixels = picture(100, 100, 3)
    wide = np.ascontiguousarray(pixels[25:75])
    np.testing.assert_array_equal(fit_picture(pixels, (20, 40), "crop"), fit_picture(wide, (20, 40), "stretch"))


@pytest.mark.parametrize(("shape", "rows", "columns"), [
    ((480, 640), slice(12, 84), slice(None)),
    ((640, 480), slice(None), slice(12, 84)),
    ((20, 2000), slice(47, 48), slice(None)),
])  # fmt: skip
def test_letterbox_keeps_everything_and_fills_with_grey(shape, rows, columns):
    pixels = picture(*shape, 3)
    fitted = fit_picture(pixels, (96, 96), "letterbox")
    inside = np.zeros((96, 96), bool)
    inside[rows, columns] = True
    assert (fitted[~inside] == GREY).all()
    part = fitted[rows, columns]
    np.testing.assert_array_equal(part, fit_picture(pixels, part.shape[:2], "stretch"))


def test_shrinking_averages_and_growing_interpolates():
    pixels = picture(64, 64, 3)
    means = pixels.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert abs(fit_picture(pixels, (32, 32), "stretch") - means).max() <= 0.5
    assert fit_picture(np.array([[0, 100]], np.uint8), (1, 4), "stretch").tolist() == [[0, 25, 75, 100]]
    one_side_grows = fit_picture(pixels, (128, 32), "stretch")
    np.testing.assert_array_equal(one_side_grows, cv2.resize(pixels, (32, 128), interpolation=cv2.INTER_LINEAR))


def test_an_unknown_fit_is_refused():
    with pytest.raises(ValueError, match="found the fit 'zoom'; expected crop, letterbox or stretch"):
        fit_picture(picture(8, 8, 3), (4, 4), "zoom")


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the sums of other processors' vectors may round differently"
)
def test_the_oldest_and_the_newest_opencv_agree():
    """These tests run with OpenCV 4.5 on Python 3.6 and with the newest."""
    digest = hashlib.sha256()
    for shape in SHAPES[:6]:
        for fit in FITS:
            digest.update(fit_picture(np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8), (96, 96), fit).tobytes())  # fmt: skip
    assert digest.hexdigest()[:16] == "c959f2ea1676e6f4"
