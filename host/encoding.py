"""HTTP content encodings: bodies that come or go compressed (RFC 9110, section 8.4)."""

import asyncio
import gzip
import zlib

from starlette.exceptions import HTTPException

from device.errors import WireError
from device.json_text import shown

WINDOW_BITS = {"gzip": 31, "deflate": 15}  # zlib's codes for the two formats; deflate means zlib's, with its header
INLINE_BYTES = 1 << 20  # what inflating at once may give: a millisecond or two in which no other request is served
LEAST_BYTES = 1024  # an answer below that fits one packet as it is


async def decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before its Content-Encoding.

    Args:
        encoding: the header's value; empty or ``identity`` for none.
        limit: bytes of the result.

    Raises:
        WireError: not of this encoding, cut off, or more than ``limit`` (413).
        HTTPException: another encoding (415).
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in WINDOW_BITS:
        raise HTTPException(415, f"found Content-Encoding {shown(encoding)}; expected gzip, deflate or none")
    stream = zlib.decompressobj(WINDOW_BITS[name])
    first = min(limit, INLINE_BYTES) + 1
    try:
        content = stream.decompress(body, first)
        if len(content) == first <= limit and not stream.eof:
            content += await asyncio.to_thread(stream.decompress, stream.unconsumed_tail, limit + 1 - first)
    except zlib.error as error:
        raise WireError(f"could not read a body with Content-Encoding {name} ({error}); was it cut off?") from error
    if len(content) > limit:
        raise WireError(f"found a request of more than {limit} bytes behind its Content-Encoding {name}", 413)
    if not stream.eof or stream.unused_data:
        raise WireError(f"found a body that ends before or behind its Content-Encoding {name}; was it cut off?")
    return content


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
