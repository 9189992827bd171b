"""Whatever bytes come, the wire reader gives a message or one WireError, within bounded memory and time."""

import json
import time
import tracemalloc
from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from device.errors import WireError
from device.protocol.messages import decode_request, decode_response, encode_request, encode_response, error_message
from device.protocol.tensors import DEFAULT_LIMITS, DTYPES, Limits
from tests.fuzz.fuzz_wire_request import same
from tests.fuzz.mutation import mutated

GOOD = encode_request(
    {"activation": np.arange(4, dtype=np.float32)[None], "threshold": np.ones((1, 1), np.float32)}, ["label"], "1"
)
names = st.text(st.characters(exclude_categories=[]), max_size=8)  # lone surrogates too
tensors = st.dictionaries(
    names, st.sampled_from(sorted(DTYPES.values())).flatmap(lambda code: arrays(code, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))), max_size=3
)  # fmt: skip

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "parameters", "binary_data_size", "x"]), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


def read(body, header_length, limits=DEFAULT_LIMITS):
    """Both readers; the sentences of what they refused."""
    refused = []
    for decode in (decode_request, decode_response):
        try:
            decode(body, header_length, limits)
        except WireError as error:
            assert str(error).isprintable()
            assert len(str(error)) < 1000
            assert error.status in (400, 413)
            refused.append(str(error))
    return refused


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.none() | st.integers(-5, 1 << 40))
def test_any_bytes_are_a_message_or_a_wire_error(body, header_length):
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
def test_any_json_is_a_message_or_a_wire_error(inputs, parameters):
    body = json.dumps({"inputs": inputs, "outputs": inputs, "parameters": parameters}).encode()
    read(body, None)
    read(body + b"1234", len(body))


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 1 << 32), st.booleans())
def test_a_good_message_with_its_json_changed(seed, binary):
    good = (
        GOOD if binary else encode_request({"a": np.arange(6, dtype=np.int8).reshape(2, 3)}, ["b"], "1", binary=False)
    )
    length = len(good.body) if good.header_length is None else good.header_length
    header = mutated(good.body[:length], Random(seed)) or b"{}"
    read(header + good.body[length:], len(header) if binary else None)


@settings(max_examples=300, deadline=None)
@given(tensors, names)
def test_what_is_sent_arrives_bit_by_bit(sent, request_id):
    request = encode_request(sent, list(sent), request_id)
    found = decode_request(request.body, request.header_length)
    assert same(found.tensors, sent)
    assert (found.id, found.outputs) == (request_id, dict.fromkeys(sent, True))
    answer = encode_response("model", "1", sent, request_id)
    assert same(decode_response(answer.body, answer.header_length).tensors, sent)


@settings(max_examples=300, deadline=None)
@given(tensors)
def test_what_is_sent_as_json_arrives_bit_by_bit_or_is_refused_where_json_cannot_say_it(sent):
    finite = all(np.isfinite(array).all() for array in sent.values())
    try:
        found = decode_request(encode_request(sent, binary=False).body, None)
    except WireError as error:
        assert not finite
        assert "NaN or infinite" in str(error)
        return
    assert finite
    assert same(found.tensors, sent)


def one(**entry):
    return json.dumps({"inputs": [dict({"name": "a", "datatype": "FP32"}, **entry)], "outputs": []}).encode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (one(shape=[0, 1 << 26, 1 << 26], data=[]), "found a shape of"),  # NumPy has no such array, though it is empty
        (one(shape=[0, 1 << 26, 1 << 26], parameters={"binary_data_size": 0}), "found a shape of"),
        (one(shape=[1 << 26] * 8, data=[]), "found a shape of"),
        (b'{"id":' + b"9" * 1_000_000 + b"}", "a number of 1000000 digits"),
        (b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deep"),
        (b'{"inputs":[NaN]}', "NaN is not JSON"),
        (b'{"id":"\\ud800\\u001b[31m\\n","inputs":0}', "found no list of objects"),
        (b'{"inputs":[{"name":["\\u001b\\ud800"]}]}', r"found ['\x1b\ud800'] as 'name'"),
        (b"\xef\xbb\xbf{}", "could not read the JSON header"),
        (b'{"a":"\x00"}', "could not read the JSON header"),
    ],
)  # fmt: skip
def test_bombs_and_oddities_get_a_sentence_at_once(body, words):
    started = time.process_time()
    assert any(words in sentence for sentence in read(body, None, Limits(json_nodes=1 << 30)))
    assert time.process_time() - started < 0.5


def test_of_two_members_with_one_name_the_last_counts():
    entry = b'{"name":"b","name":"a","datatype":"INT8","shape":[9],"shape":[1],"data":[1]}'
    assert list(decode_request(b'{"inputs":[],"inputs":[' + entry + b"]}", None).tensors) == ["a"]


UNITS = {"lists": b"[],", "objects": b"{},", "members": b'"%x":0,', "texts": b'"ab",', "wide texts": b'"\\u1234",', "numbers": b"999,", "floats": b"1e9,"}  # fmt: skip


@pytest.mark.parametrize("name", UNITS)
def test_json_takes_no_more_memory_than_the_limits_say(name):
    """Limits.json_bytes: up to 15 times; a reader without Limits.json_nodes takes up to 34."""
    size = 1 << 20
    unit = UNITS[name]
    many = b"".join(unit % index for index in range(size // 10)) if name == "members" else unit * (size // len(unit))
    start, end = (b'{"a":{', b"}}") if name == "members" else (b'{"inputs":[{"name":"a","datatype":"FP32","shape":[%d],"data":[' % many.count(b","), b"]}]}")  # fmt: skip
    body = start + many[:-1] + end
    limits = Limits(json_bytes=2 << 20, json_nodes=1 << 12)
    tracemalloc.start()
    try:
        read(body, None, limits)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(body)
    if name in ("lists", "objects", "members"):
        assert peak < 2 * len(body)


def test_an_error_answer_cannot_write_to_the_terminal():
    assert error_message(b'{"error":"busy\\u001b[31m\\ud800\\n"}') == r"busy\x1b[31m\ud800\n"
    assert len(error_message(b'{"error":"' + b"a" * 100_000 + b'"}')) == 500
    assert error_message(b'{"error":' + b"9" * 100_000 + b"}") == repr(b'{"error":' + b"9" * 71)
