"""Takes in the body of a request, within bounds of size and time."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request

from device.json_text import shown

CLOSE = {"Connection": "close"}  # what still comes on it would be taken for another request


async def read_body(request: Request, limit: int, timeout_s: float) -> bytes:
    """The whole body as it came, never more than ``limit`` bytes and never later than ``timeout_s``.

    Raises:
        HTTPException: 413 too large, 408 too late; the connection is to be closed.
        ClientDisconnect: nobody waits for an answer.
    """
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or len(length) > 12 or int(length) > limit:
        found = length if length.isdigit() and len(length) <= 12 else shown(length)
        raise HTTPException(413, f"found a request of {found} bytes; expected at most {limit}", CLOSE)
    try:
        return await asyncio.wait_for(_read(request, limit), timeout_s)
    except asyncio.TimeoutError:
        raise HTTPException(
            408,
            f"found less than the announced {length} bytes of a request after {timeout_s:g} s; "
            "expected all of them; send it again",
            CLOSE,
        ) from None


async def _read(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise HTTPException(413, f"found a request of more than {limit} bytes", CLOSE)
    return b"".join(parts)
