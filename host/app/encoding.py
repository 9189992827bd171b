"""HTTP content encodings: bodies that come or go compressed (RFC 9110, section 8.4)."""

import gzip
import zlib

from starlette.exceptions import HTTPException

from device.errors import WireError
from device.system.json_text import shown

WINDOW_BITS = {"gzip": 31, "deflate": 15}  # zlib's codes for the two formats; deflate means zlib's, with its header
INLINE_BYTES = 128 << 10  # what inflating at once may give: a fraction of a millisecond in which no other is served
LEAST_BYTES = 1024  # an answer below that fits one packet as it is


class Unpacking:
    """A body with a Content-Encoding as it was before. The first INLINE_BYTES are unpacked at once.

    Args:
        encoding: the header's value; empty or ``identity`` for none.
        limit: bytes of the result.

    Attributes:
        is_short: the rest is no more than that.

    Raises:
        WireError: not of this encoding, cut off, or more than ``limit`` (413); by ``content`` too.
        HTTPException: another encoding (415).
    """

    def __init__(self, body: bytes, encoding: str, limit: int) -> None:
        self._name = encoding.strip().lower()
        self._limit = limit
        self.is_short = True
        if self._name in ("", "identity"):
            self._content = body
            return
        if self._name not in WINDOW_BITS:
            raise HTTPException(415, f"found Content-Encoding {shown(encoding)}; expected gzip, deflate or none")
        self._stream = zlib.decompressobj(WINDOW_BITS[self._name])
        first = min(limit, INLINE_BYTES) + 1
        self._content = self._unpacked(body, first)
        self.is_short = not (len(self._content) == first <= limit and not self._stream.eof)
        if self.is_short:
            self._check()

    def content(self) -> bytes:
        """The whole body. Takes its time where it is not short."""
        if not self.is_short:
            most = self._limit + 1 - len(self._content)
            self._content += self._unpacked(self._stream.unconsumed_tail, most)
            self.is_short = True
            self._check()
        return self._content

    def _unpacked(self, body: bytes, most: int) -> bytes:
        try:
            return self._stream.decompress(body, most)
        except zlib.error as error:
            raise WireError(
                f"could not read a body with Content-Encoding {self._name} ({error}); was it cut off?"
            ) from error

    def _check(self) -> None:
        if len(self._content) > self._limit:
            raise WireError(
                f"found a request of more than {self._limit} bytes behind its Content-Encoding {self._name}", 413
            )
        if not self._stream.eof or self._stream.unused_data:
            raise WireError(
                f"found a body that ends before or behind its Content-Encoding {self._name}; was it cut off?"
            )


def encoded(body: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """The body in an encoding that the client takes, and the header that says so; as it is where that gains nothing.

    Args:
        accepted: the Accept-Encoding header of the request.
    """
    if not accepted or len(body) < LEAST_BYTES:
        return body, {}
    offered = {part.split(";")[0].strip().lower() for part in accepted.split(",") if not _refused(part)}
    if "gzip" in offered:
        return gzip.compress(body, 1, mtime=0), {"Content-Encoding": "gzip"}
    if "deflate" in offered:
        return zlib.compress(body, 1), {"Content-Encoding": "deflate"}
    return body, {}


def _refused(part: str) -> bool:
    """Whether an entry of Accept-Encoding has the weight 0: not acceptable."""
    weight = part.replace(" ", "").lower().partition(";q=")[2]
    return bool(weight) and not weight.strip("0.")
