"""Messages of the Open Inference Protocol: what is written is read back, and malformed ones are refused within bounds."""

import json

import numpy as np
import pytest

from device.errors import WireError
from device.protocol.messages import (
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    error_body,
    error_message,
)
from device.protocol.tensors import Limits

FLOATS = np.array([[1.0, -2.5]], np.float32)
FLOAT_BYTES = b"\x00\x00\x80\x3f\x00\x00\x20\xc0"
LABEL_BYTES = b"\x03\x00\x00\x00\x00\x00\x00\x00"

REQUEST = (
    b'{"id":"7","inputs":[{"name":"activation","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}],'
    b'"outputs":[{"name":"label","parameters":{"binary_data":true}}]}'
)
RESPONSE = (
    b'{"model_name":"m","model_version":"1","id":"7","outputs":'
    b'[{"name":"label","shape":[1],"datatype":"INT64","parameters":{"binary_data_size":8}}]}'
)


def test_request_bytes_both_ways():
    encoded = encode_request({"activation": FLOATS}, ["label"], "7")
    assert encoded.body == REQUEST + FLOAT_BYTES
    assert encoded.header_length == len(REQUEST)
    request = decode_request(encoded.body, encoded.header_length)
    assert (request.id, request.outputs) == ("7", {"label": True})
    np.testing.assert_array_equal(request.tensors["activation"], FLOATS)
    assert not request.tensors["activation"].flags.owndata  # a view of the body


def test_response_bytes_both_ways():
    encoded = encode_response("m", "1", {"label": np.array([3])}, "7")
    assert encoded.body == RESPONSE + LABEL_BYTES
    response = decode_response(encoded.body, encoded.header_length)
    assert (response.model_name, response.model_version, response.id) == ("m", "1", "7")
    assert response.tensors["label"].tolist() == [3]


def test_json_both_ways():
    encoded = encode_request({"a": FLOATS}, binary=False)
    assert encoded.header_length is None
    assert encoded.body == b'{"inputs":[{"name":"a","shape":[1,2],"datatype":"FP32","data":[1.0,-2.5]}]}'
    np.testing.assert_array_equal(decode_request(encoded.body, None).tensors["a"], FLOATS)


@pytest.mark.parametrize("dtype", ["?", "u1", "<u2", "<u4", "<u8", "i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"])
@pytest.mark.parametrize("binary", [True, False])
def test_every_type_survives(dtype, binary):
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    encoded = encode_request({"x": array}, binary=binary)
    out = decode_request(encoded.body, encoded.header_length).tensors["x"]
    assert out.dtype == array.dtype
    np.testing.assert_array_equal(out, array)


def test_nested_json_data_and_null_parameters_as_kserve_writes_them():
    body = b'{"id":null,"parameters":null,"inputs":[{"name":"a","shape":[2,2],"datatype":"FP32","data":[[1,2],[3,4]],"parameters":null}],"other":1}'
    assert decode_request(body, None).tensors["a"].tolist() == [[1, 2], [3, 4]]


def test_binary_output_can_be_asked_for_all_or_each():
    body = b'{"parameters":{"binary_data_output":true},"inputs":[],"outputs":[{"name":"a"},{"name":"b","parameters":{"binary_data":false}}]}'
    request = decode_request(body, None)
    assert request.outputs == {"a": True, "b": False}
    assert request.binary_default


def one(entry, tail=b""):
    header = b'{"inputs":[' + entry + b"]}"
    return header + tail, len(header)


BAD = {
    "empty": (b"", None, 400, "0 bytes"),
    "header longer than the body": (b"{}", 4_000_000_000, 400, "cut off"),
    "negative header": (b"{}", -1, 400, "expected 1 to 2"),
    "not json": (b"garbage", None, 400, "could not read"),
    "not utf-8": (b'{"inputs":"\xff"}', None, 400, "could not read"),
    "not an object": (b"[]", None, 400, "expected an object"),
    "NaN": (b'{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":[NaN]}]}', None, 400, "not JSON"),
    "deep": (b"[" * 60000, None, 400, "could not read"),
    "no inputs": (b"{}", None, 400, "'inputs'"),
    "inputs no list": (b'{"inputs":{}}', None, 400, "'inputs'"),
    "id no string": (b'{"id":{},"inputs":[]}', None, 400, "'id'"),
    "parameters no object": (b'{"parameters":[],"inputs":[]}', None, 400, "'parameters'"),
    "too many": (b'{"inputs":[' + b",".join([b"{}"] * 17) + b"]}", None, 413, "17 tensors"),
    "no name": (*one(b'{"shape":[1],"datatype":"FP32"}'), 400, "'name'"),
    "unknown type": (*one(b'{"name":"a","shape":[1],"datatype":"BYTES"}'), 400, "BYTES"),
    "bf16": (*one(b'{"name":"a","shape":[1],"datatype":"BF16"}'), 400, "BF16"),
    "no shape": (*one(b'{"name":"a","datatype":"FP32"}'), 400, "no shape"),
    "negative shape": (*one(b'{"name":"a","shape":[-1],"datatype":"FP32"}'), 400, "-1"),
    "bool shape": (*one(b'{"name":"a","shape":[true],"datatype":"FP32"}'), 400, "True"),
    "float shape": (*one(b'{"name":"a","shape":[1.5],"datatype":"FP32"}'), 400, "1.5"),
    "rank": (*one(b'{"name":"a","shape":[1,1,1,1,1,1,1,1,1],"datatype":"FP32"}'), 400, "8 dimensions"),
    "overflow": (*one(b'{"name":"a","shape":[4294967296,4294967296],"datatype":"FP32"}'), 413, "at most"),
    "overflow hidden by zero": (*one(b'{"name":"a","shape":[0,99999999999999999999],"datatype":"FP32"}'), 413, "at most"),
    "size is not the shape's": (*one(b'{"name":"a","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":4}}', b"1234"), 400, "has 8 bytes"),
    "size no number": (*one(b'{"name":"a","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":"4"}}', b"1234"), 400, "'4'"),
    "cut off": (*one(b'{"name":"a","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}', b"123"), 400, "cut off"),
    "bytes left over": (*one(b'{"name":"a","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}', b"12345"), 400, "found 5 bytes"),
    "no data": (*one(b'{"name":"a","shape":[1],"datatype":"FP32"}'), 400, "neither data"),
    "too few": (*one(b'{"name":"a","shape":[3],"datatype":"FP32","data":[1,2]}'), 400, "not 3 values"),
    "strings": (*one(b'{"name":"a","shape":[1],"datatype":"FP32","data":["x"]}'), 400, "not 1 values"),
    "ragged": (*one(b'{"name":"a","shape":[3],"datatype":"FP32","data":[[1],[2,3]]}'), 400, "not 3 values"),
    "out of range": (*one(b'{"name":"a","shape":[1],"datatype":"UINT8","data":[300]}'), 400, "not 1 values"),
    "out of range of a float": (*one(b'{"name":"a","shape":[1],"datatype":"FP32","data":[1e39]}'), 400, "not 1 values"),
    "out of range of any float": (*one(b'{"name":"a","shape":[1],"datatype":"FP64","data":[1e999]}'), 400, "not 1 values"),
    "more digits than a float has": (*one(b'{"name":"a","shape":[1],"datatype":"FP64","data":[' + b"9" * 400 + b"]}"), 400, "not 1 values"),
    "one more than INT64 has": (*one(b'{"name":"a","shape":[1],"datatype":"INT64","data":[9223372036854775808]}'), 400, "not 1 values"),
    "fractions as integers": (*one(b'{"name":"a","shape":[1],"datatype":"INT32","data":[1.0]}'), 400, "not 1 values"),
    "bools as numbers": (*one(b'{"name":"a","shape":[2],"datatype":"FP32","data":[true,1]}'), 400, "not 2 values"),
    "null": (*one(b'{"name":"a","shape":[1],"datatype":"FP32","data":[null]}'), 400, "not 1 values"),
    "long name": (*one(b'{"name":"' + b"x" * 60000 + b'","shape":[1],"datatype":"FP32"}'), 400, "neither data"),
    "long type": (*one(b'{"name":"a","shape":[1],"datatype":"' + b"x" * 60000 + b'"}'), 400, "found datatype"),
    "long size": (*one(b'{"name":"a","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":"' + b"x" * 60000 + b'"}}'), 400, "has 4 bytes"),
    "line break in a name": (*one(b'{"name":"a\\nb","shape":[1],"datatype":"FP32"}'), 400, "neither data"),
    "twice": (*one(b'{"name":"a","shape":[0],"datatype":"FP32","data":[]},{"name":"a","shape":[0],"datatype":"FP32","data":[]}'), 400, "two tensors"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(BAD))
def test_malformed_messages_give_one_sentence(case):
    body, header_length, status, words = BAD[case]
    with pytest.raises(WireError) as caught:
        decode_request(body, header_length)
    assert caught.value.status == status
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_messages_beyond_a_limit_are_refused():
    encoded = encode_request({"a": np.zeros(1000, np.float32)})
    with pytest.raises(WireError, match="at most 100") as caught:
        decode_request(encoded.body, encoded.header_length, Limits(body_bytes=100))
    assert caught.value.status == 413
    with pytest.raises(WireError, match="JSON header of"):
        decode_request(encoded.body, encoded.header_length, Limits(header_bytes=10))


@pytest.mark.parametrize("form", ["flat", "nested"])
def test_json_of_more_values_than_the_limit_is_refused_before_it_is_parsed(form, monkeypatch):
    array = np.zeros((50, 2, 10), np.int8)
    cells = array.tolist() if form == "nested" else array.ravel().tolist()
    entry = {"name": "a", "datatype": "INT8", "shape": [50, 2, 10], "data": cells}
    body = json.dumps({"inputs": [entry]}).encode()
    found = decode_request(body, None, Limits(json_values=1010)).tensors["a"]
    np.testing.assert_array_equal(found, array)
    monkeypatch.setattr("device.protocol.messages.read_json", None)
    for limits in (Limits(json_values=900), Limits(json_nodes=4)):
        with pytest.raises(WireError, match="found more than") as caught:
            decode_request(body, None, limits)
        assert caught.value.status == 413


def test_a_reader_that_pauses_gives_the_same_tensors():
    arrays = {
        "whole": np.arange(30000, dtype=np.int32).reshape(100, 300),
        "real": np.linspace(0, 1, 20000).astype(np.float32),
    }
    encoded = encode_request(arrays, binary=False)
    pauses = []
    found = decode_request(encoded.body, None, pause=lambda: pauses.append(1)).tensors
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert len(pauses) > 25


@pytest.mark.parametrize(
    "data",
    [[[1, 2], [3]], [[1, 2], 3, 4], [1, [2, 3, 4]], [[[1], [2]], [[3], 4]], [[], []], [1, 2, 3], [1, 2, 3, True]],
)
def test_lists_of_unequal_lengths_are_no_tensor(data):
    entry = {"name": "a", "datatype": "INT8", "shape": [2, 2], "data": data}
    with pytest.raises(WireError, match="not 4 values"):
        decode_request(json.dumps({"inputs": [entry]}).encode(), None)


def test_types_that_cannot_be_sent():
    with pytest.raises(WireError, match="complex"):
        encode_request({"a": np.zeros(1, np.complex64)})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_cannot_carry_what_is_not_finite(value):
    array = np.array([value], np.float32)
    with pytest.raises(WireError, match="ask for binary data"):
        encode_response("m", "1", {"confidence": array}, binary_names=[])
    encoded = encode_response("m", "1", {"confidence": array})
    np.testing.assert_array_equal(decode_response(encoded.body, encoded.header_length).tensors["confidence"], array)


def test_the_largest_integers_survive_json():
    array = np.array([2**64 - 1, 1], np.uint64)
    assert decode_request(encode_request({"a": array}, binary=False).body, None).tensors["a"].tolist() == array.tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("data", ["[[1],[2,3]]", "[1,[2,3]]", "[1e39,1,1]"])
def test_bad_json_data_raise_no_warning(data):
    body = '{"inputs":[{"name":"a","shape":[3],"datatype":"FP32","data":' + data + "}]}"
    with pytest.raises(WireError, match="not 3 values"):
        decode_request(body.encode(), None)


def test_an_empty_binary_tensor():
    encoded = encode_request({"a": np.zeros((0, 4), np.float32)})
    assert decode_request(encoded.body, encoded.header_length).tensors["a"].shape == (0, 4)


def test_answers_with_an_error_are_read():
    assert error_message(error_body("no such model")) == "no such model"
    assert "garbage" in error_message(b"garbage")
    assert error_message(b"[" * 60000)
