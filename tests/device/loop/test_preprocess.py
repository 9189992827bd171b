"""Frames of any size, in colour or grey, become what the network takes."""

import numpy as np
import pytest

from device.errors import FrameError
from device.loop.preprocess import Preprocessor
from device.pictures.fit import FITS, fit_picture


@pytest.mark.parametrize("shape", [(480, 640, 3), (8, 8, 3), (100, 16), (16, 16, 1), (16, 16, 3)])
def test_any_size_and_grey_become_the_input(bundle, shape):
    pixels = Preprocessor(bundle).resize(np.full(shape, 77, np.uint8))
    assert pixels.shape == (16, 16, 3)
    assert (pixels == 77).all()


def test_colour_becomes_grey_for_a_grey_network(bundle):
    grey = bundle._replace(input_shape=(1, 16, 16))
    pixels = Preprocessor(grey).resize(np.full((20, 20, 3), 50, np.uint8))
    np.testing.assert_array_equal(pixels, np.full((16, 16, 1), 50))


def test_a_frame_of_the_right_size_stays_as_it_is(bundle, frames):
    np.testing.assert_array_equal(Preprocessor(bundle).resize(frames[0]), frames[0])


@pytest.mark.parametrize(
    "frame", [np.zeros((16, 16, 4), np.uint8), np.zeros((16, 16, 3)), np.zeros((0, 16, 3), np.uint8)]
)
def test_what_is_no_frame_is_refused(bundle, frame):
    with pytest.raises(FrameError, match="found a frame of type"):
        Preprocessor(bundle).resize(frame)


@pytest.mark.parametrize("shape", [(480, 640, 3), (640, 480, 3), (33, 47, 3), (9, 7, 3), (48, 61), (48, 61, 1)])
@pytest.mark.parametrize("fit", FITS)
def test_frames_are_fitted_as_the_bundle_says(bundle, shape, fit):
    frame = np.random.RandomState(1).randint(0, 256, shape).astype(np.uint8)
    pixels = Preprocessor(bundle._replace(fit=fit)).resize(frame)
    assert pixels.flags.c_contiguous
    expected = fit_picture(frame, (16, 16), fit)
    np.testing.assert_array_equal(pixels, np.broadcast_to(expected.reshape(16, 16, -1), (16, 16, 3)))
