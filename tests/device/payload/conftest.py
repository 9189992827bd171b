"""An activation, and what a host reads of a payload."""

import zlib

import numpy as np
import pytest

from device.protocol.messages import decode_request

COEFFICIENTS, UINT8, FP32 = "coefficients", "uint8", "fp32"
SHIPPED = (COEFFICIENTS, UINT8, FP32)
"""The forms that the committed bundles have graphs for, from the smallest. Tests that name them go on to hold when a form is added."""
THRESHOLD = np.full((1, 1), 0.62, np.float32)


@pytest.fixture
def activation():
    return np.maximum(np.random.RandomState(1).normal(0, 3, (1, 6, 8, 8)), 0).astype(np.float32)


def read(payload):
    """The tensors of a payload, as a host reads them."""
    body = payload.message.body
    body = zlib.decompress(body) if payload.content_encoding == "deflate" else body
    return decode_request(body, payload.message.header_length).tensors
