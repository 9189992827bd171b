"""Bodies with a Content-Encoding. Input: a letter (g, d, else none), the limit / 16 as one byte, the packed body."""

import zlib
from unittest import mock

from starlette.exceptions import HTTPException

from device.errors import WireError
from host.app import encoding
from host.app.encoding import BodyDecoder, encoded

NAMES = {b"g": "gzip", b"d": "deflate", b"i": "identity"}
INLINE_BYTES = 1 << 10  # so that small inputs reach what a large body does


def check(data: bytes) -> None:
    with mock.patch.object(
        encoding, "INLINE_BYTES", INLINE_BYTES
    ):  # for this input alone: other tests share the module
        _check(data)


def _check(data: bytes) -> None:
    name, limit, body = NAMES.get(data[:1], "br"), 16 * sum(data[1:2]), data[2:]
    try:
        content = BodyDecoder(body, name, limit).content()
    except WireError as error:
        assert error.status in (400, 413)
        return
    except HTTPException as error:
        assert error.status_code == 415
        return
    if name == "identity":
        assert content == body
        return
    assert len(content) <= limit
    assert content == zlib.decompress(body, encoding.WINDOW_BITS[name])
    packed, headers = encoded(content, name)
    if headers:
        assert BodyDecoder(packed, headers["Content-Encoding"], limit).content() == content
