"""Whatever bytes come, the wire reader gives a message or one WireError."""

import json

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from device.errors import WireError
from device.wire import decode_request, decode_response, encode_request

GOOD = encode_request(
    {"activation": np.arange(4, dtype=np.float32)[None], "threshold": np.ones((1, 1), np.float32)}, ["label"], "1"
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "parameters", "binary_data_size", "x"]), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


def read(body, header_length):
    for decode in (decode_request, decode_response):
        try:
            decode(body, header_length)
        except WireError as error:
            assert str(error)
            assert error.status in (400, 413)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.none() | st.integers(-5, 1 << 40))
def test_any_bytes(body, header_length):
    read(body, header_length)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD.body) - 1), st.integers(0, 255), st.integers(-3, 3))
@example(0, 0, 0)
def test_a_good_message_with_one_byte_changed(position, value, shift):
    body = bytearray(GOOD.body)
    body[position] = value
    read(bytes(body), GOOD.header_length + shift)


@settings(max_examples=300, deadline=None)
@given(st.lists(json_values, max_size=3), json_values)
def test_any_json(inputs, parameters):
    body = json.dumps({"inputs": inputs, "outputs": inputs, "parameters": parameters}).encode()
    read(body, None)
    read(body + b"1234", len(body))
