"""Answers as a device gets them. Input: as fuzz_wire_request."""

from device.errors import WireError
from device.protocol.messages import decode_response, encode_response, error_message
from tests.fuzz.fuzz_wire_request import LIMITS, message, same


def check(data: bytes) -> None:
    body, header_length = message(data)
    sentence = error_message(body)
    assert sentence.isprintable()
    assert len(sentence) <= 5000
    try:
        response = decode_response(body, header_length, LIMITS)
    except WireError as error:
        assert error.status in (400, 413)
        assert str(error).isprintable()
        return
    encoded = encode_response(response.model_name, response.model_version, response.tensors, response.id)
    again = decode_response(encoded.body, encoded.header_length)
    assert same(again.tensors, response.tensors)
    assert again[:3] == response[:3]
