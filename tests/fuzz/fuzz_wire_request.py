"""Requests as a host gets them. Input: see ``message``."""

import numpy as np

from device.errors import WireError
from device.protocol.messages import InferRequest, decode_request, encode_request
from device.protocol.tensors import Limits

LIMITS = Limits(header_bytes=1 << 12, body_bytes=1 << 16, json_bytes=1 << 14, json_nodes=1 << 10)


def message(data: bytes) -> tuple[bytes, int | None]:
    """A body and its header length, from the fuzzer's bytes.

    The first byte says how: ``j`` JSON alone; ``n`` a number of four bytes is the header length; else the header ends
    at the first NUL (which JSON cannot hold), so that its length stays right while the fuzzer changes it.
    """
    how, rest = data[:1], data[1:]
    if how == b"j":
        return rest, None
    if how == b"n":
        return rest[4:], int.from_bytes(rest[:4], "little", signed=True)
    header, _, blob = rest.partition(b"\0")
    return header + blob, len(header)


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    """Whether two messages hold the same tensors, bit by bit."""
    return list(first) == list(second) and all(
        (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())
        for one, two in zip(first.values(), second.values(), strict=True)
    )


def check(data: bytes) -> None:
    try:
        request = decode_request(*message(data), LIMITS)
    except WireError as error:
        assert error.status in (400, 413)
        assert str(error).isprintable()
        assert len(str(error)) < 1000
        return
    assert isinstance(request, InferRequest)
    assert sum(array.nbytes for array in request.tensors.values()) <= LIMITS.tensors * LIMITS.body_bytes
    assert not any(array.flags.writeable for array in request.tensors.values())
    encoded = encode_request(request.tensors, list(request.outputs), request.id)
    again = decode_request(encoded.body, encoded.header_length)
    assert same(again.tensors, request.tensors)
    assert (again.id, list(again.outputs)) == (request.id, list(request.outputs))
