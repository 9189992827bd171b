"""DefQ against the DCT of scipy, in float64, with the tables that are shipped."""

import json

import numpy as np
import pytest
from scipy import fft

from device.defence.defq import DefQ
from export.data.shipped import TABLES
from export.onnx.rounding import undecided


def by_scipy(frame, table):
    """Pixels in 0..255, not rounded, float64 of the frame's shape."""
    height, width, channels = frame.shape
    blocks = frame.reshape(height // 8, 8, width // 8, 8, channels).transpose(0, 2, 4, 1, 3).astype(np.float64)
    # without the last digits of float64, so that exact ties stay ties
    coefficients = np.round(fft.dctn(blocks, axes=(-2, -1), norm="ortho"), 6)
    back = fft.idctn(np.rint(coefficients / table) * table, axes=(-2, -1), norm="ortho")
    return np.clip(back, 0, 255).transpose(0, 3, 1, 4, 2).reshape(frame.shape)


@pytest.mark.parametrize("model", ["vgg16", "resnet56", "mobilenet"])
@pytest.mark.parametrize("shape", [(32, 32, 3), (240, 320, 3), (64, 64, 1)])
def test_defq_equals_scipy(model, shape):
    table = np.array(json.loads((TABLES / f"{model}.json").read_text())["table"])
    frame = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    found, exact = DefQ(table)(frame).astype(int), by_scipy(frame, table)
    expected = np.rint(np.round(exact, 6)).astype(int)
    different = found != expected
    # float32 rounds the other way only where the exact value lies half-way, to within its precision
    either_way = undecided(frame, table)
    blocks, pixels = (each.transpose(1, 2, 0) for each in either_way)
    assert not (different & ~blocks & ~pixels).any()
    assert np.abs(found - expected)[~blocks].max() <= 1
    assert different.sum() <= max(1, 1e-4 * different.size)
