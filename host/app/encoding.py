"""HTTP content encodings: compressed bodies of requests and answers (RFC 9110, section 8.4)."""

import gzip
import zlib

from starlette.exceptions import HTTPException

from device.errors import WireError
from device.system.json_text import shown

WINDOW_BITS = {
    "gzip": 31,
    "deflate": 15,
}  # codes of zlib for the two formats; HTTP's deflate is zlib's format with its header
INLINE_BYTES = (
    128 << 10
)  # size up to which a body is unpacked at once: it takes a fraction of a millisecond, in which no other client is served
LEAST_BYTES = 1024  # a smaller answer fits into one packet without compression


class BodyDecoder:
    """Undoes the Content-Encoding of a body. Only the first INLINE_BYTES are unpacked at once.

    Args:
        body: as it was received.
        encoding: value of the header; empty or ``identity`` if there is no encoding.
        limit: largest size of the result in bytes.

    Attributes:
        is_short: whether the whole body has been unpacked already, because it has no more than INLINE_BYTES.

    Raises:
        WireError: the body is not in this encoding, is cut off, or exceeds ``limit`` (413). ``content`` raises it as well.
        HTTPException: the encoding is unknown (415).
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

    @property
    def unpacked_bytes(self) -> int:
        """Number of bytes that have been unpacked so far."""
        return len(self._content)

    def content(self) -> bytes:
        """The whole body. This takes long if the body is not short."""
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
    """Compress the body of an answer if the client accepts that and it saves anything.

    Args:
        accepted: the Accept-Encoding header of the request.

    Returns:
        The body, and the header that names its encoding.
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
    """Whether an entry of Accept-Encoding has the weight 0, which means that the client does not accept it."""
    weight = part.replace(" ", "").lower().partition(";q=")[2]
    return bool(weight) and not weight.strip("0.")
