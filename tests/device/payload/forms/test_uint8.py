"""The payload form of activations in 8 bits: their range and their error."""

import numpy as np
import pytest

from device.payload.forms.uint8 import quantised, restored


@pytest.mark.parametrize("levels", [1, 63, 127, 255])
def test_uint8_uses_the_whole_range_and_is_off_by_half_a_step_at_most(levels):
    values = np.random.RandomState(0).normal(2, 5, (4, 3, 5, 7)).astype(np.float32)
    packed = quantised(values, levels)
    assert packed.values.dtype == np.uint8
    assert packed.range.shape == (4, 2)
    for each in packed.values:
        assert (each.min(), each.max()) == (0, levels)
    off = np.abs(restored(packed) - values).reshape(4, -1).max(1)
    assert (off <= packed.range[:, 1] * 0.5001).all()


def test_zeros_behind_a_relu_stay_zeros_and_flat_activations_stay_what_they_are(activation):
    packed = quantised(activation, 255)
    assert packed.range[0, 0] == 0
    assert (restored(packed)[activation == 0] == 0).all()
    for value in (0.0, -2.5, 1e30):
        flat = np.full((2, 3), value, np.float32)
        np.testing.assert_array_equal(restored(quantised(flat, 255)), flat)
