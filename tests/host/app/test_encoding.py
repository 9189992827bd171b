"""Bodies that are packed with gzip or deflate, within bounds."""

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from device.errors import WireError
from host.app.encoding import INLINE_BYTES, LEAST_BYTES, BodyDecoder, encoded

PACKED = {"gzip": gzip.compress, "deflate": zlib.compress}


def decode(body, encoding, limit=1000):
    return BodyDecoder(body, encoding, limit).content()


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("size", [0, 1, 1000, INLINE_BYTES, INLINE_BYTES + 1, 3 * INLINE_BYTES])
def test_packed_bodies_are_unpacked(encoding, size):
    body = bytes(range(250)) * (size // 250) + b"x" * (size % 250)
    assert decode(PACKED[encoding](body), f" {encoding.upper()}", max(size, 1)) == body


@pytest.mark.parametrize("encoding", PACKED)
def test_only_the_beginning_of_a_large_body_is_unpacked_at_once(encoding):
    decoder = BodyDecoder(PACKED[encoding](bytes(8 * INLINE_BYTES)), encoding, 8 * INLINE_BYTES)
    assert not decoder.is_short
    assert decoder.unpacked_bytes == INLINE_BYTES + 1
    assert decoder.content() == bytes(8 * INLINE_BYTES)
    assert BodyDecoder(PACKED[encoding](bytes(INLINE_BYTES)), encoding, 8 * INLINE_BYTES).is_short


@pytest.mark.parametrize("encoding", PACKED)
def test_a_body_that_grows_beyond_the_limit_is_refused(encoding):
    bomb = PACKED[encoding](bytes(30 * INLINE_BYTES))
    assert len(bomb) < 40_000
    for limit in (10, INLINE_BYTES, 2 * INLINE_BYTES):
        with pytest.raises(WireError, match=f"more than {limit} bytes") as found:
            decode(bomb, encoding, limit)
        assert found.value.status == 413


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("damage", ["cut off", "more behind", "not packed", "other", "empty"])
def test_damaged_bodies_get_a_sentence(encoding, damage):
    packed = PACKED[encoding](b"hello" * 20)
    bodies = {
        "cut off": packed[:-1],
        "more behind": packed + b"x",
        "not packed": b"hello",
        "other": zlib.compress(b"x") if encoding == "gzip" else gzip.compress(b"x"),
        "empty": b"",
    }
    with pytest.raises(WireError, match="was it cut off") as found:
        decode(bodies[damage], encoding)
    assert found.value.status == 400


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "x" * 3000])
def test_other_encodings_are_named(encoding):
    with pytest.raises(HTTPException) as found:
        decode(b"", encoding)
    assert found.value.status_code == 415
    assert "expected gzip, deflate or none" in found.value.detail
    assert len(found.value.detail) < 200


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["", "identity", *PACKED]))
def test_any_bytes_are_unpacked_or_refused(body, encoding):
    try:
        assert len(decode(body, encoding, 300)) <= 300
    except WireError as error:
        assert error.status in (400, 413)


LARGE = bytes(LEAST_BYTES)


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("", None),
        ("br", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, GZIP;q=0.5", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.0", None),
        ("*", None),
    ],
)
def test_answers_are_packed_as_the_client_takes_them(accepted, expected):
    content, headers = encoded(LARGE, accepted)
    assert headers == ({"Content-Encoding": expected} if expected else {})
    assert (decode(content, expected, 2000) if expected else content) == LARGE


def test_a_short_answer_goes_as_it_is():
    assert encoded(LARGE[1:], "gzip") == (LARGE[1:], {})
