"""What a host gets for a frame in each form."""

import json
import zlib

import numpy as np
import pytest

from device.payload.base import Sendable
from device.payload.encoder import Encoder
from device.payload.forms import coefficients, inputs_of, uint8
from device.protocol.messages import encode_request
from tests.device.payload.conftest import COEFFICIENTS, FP32, SHIPPED, THRESHOLD, UINT8, read


@pytest.mark.parametrize("form", SHIPPED)
def test_a_form_computes_what_it_sends_and_nothing_else(bundle, frames, activation, monkeypatch, form):
    """A frame that is sent in one form causes no work for another form."""
    called = []
    for name, step in (
        ("coefficients.packed_coefficients", coefficients.packed_coefficients),
        ("uint8.quantised", uint8.quantised),
    ):

        def noted(*given, _name=name, _step=step):
            called.append(_name)
            return _step(*given)

        monkeypatch.setattr("device.payload.forms." + name, noted)
    payload = Encoder(bundle).encode(Sendable(activation, frames[0], bundle.table), THRESHOLD, form)
    expected = {COEFFICIENTS: ["coefficients.packed_coefficients"], UINT8: ["uint8.quantised"], FP32: []}
    assert called == expected[form]
    assert payload.content_encoding == ("" if form == FP32 else "deflate")


def test_a_frame_that_does_not_fit_a_form_is_sent_in_the_next_larger_one(bundle, activation):
    encoder = Encoder(bundle)
    black = np.zeros((16, 16, 3), np.uint8)
    for table in (np.full((8, 8), 8, np.float32), np.full((8, 8), 20.5, np.float32)):
        payload = encoder.encode(Sendable(activation, black, table), THRESHOLD, COEFFICIENTS)
        assert payload.form == UINT8
        assert set(read(payload)) == {"activation_uint8", "activation_range", "threshold"}


def test_bodies_hold_what_the_form_says(bundle, frames, activation):
    encoder = Encoder(bundle)
    frame = Sendable(activation, frames[0], bundle.table)
    sizes = []
    for form in SHIPPED:
        payload = encoder.encode(frame, THRESHOLD, form)
        assert payload.form == form
        tensors = read(payload)
        assert {name: array.shape[1:] for name, array in tensors.items() if name != "threshold"} == {
            name: shape for name, (_, shape) in inputs_of(form, bundle).items()
        }
        np.testing.assert_array_equal(tensors["threshold"], THRESHOLD)
        sizes.append(len(payload.message.body))
    plain = encode_request({"activation": activation, "threshold": THRESHOLD}, ("label", "confidence", "exit"))
    assert payload.message == plain
    assert sizes[0] < sizes[1] < sizes[2]


def test_forms_that_a_frame_can_have(bundle, frames, activation):
    encoder = Encoder(bundle)
    assert encoder.possible(SHIPPED, Sendable(activation, frames[0], bundle.table)) == list(SHIPPED)
    assert encoder.possible(SHIPPED, Sendable(activation, frames[0])) == [UINT8, FP32]
    assert encoder.possible(SHIPPED, Sendable(activation, frames[0], np.full((8, 8), 300, np.float32))) == [UINT8, FP32]


def test_headers_are_inside_what_is_deflated(bundle, activation):
    message = Encoder(bundle).encode(Sendable(activation), THRESHOLD, UINT8).message
    plain = zlib.decompress(message.body)
    header = json.loads(plain[: message.header_length].decode())
    assert header["parameters"] == {"binary_data_output": True}
    assert [each["name"] for each in header["inputs"]] == ["activation_uint8", "activation_range", "threshold"]
