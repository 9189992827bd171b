"""Takes in the body of a request, within bounds of size and time and of the memory of all requests."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from device.system.json_text import shown
from host.app.fair import Shares

CLOSE = {"Connection": "close"}  # what still comes on it would be taken for another request


class Held:
    """What one request holds of a memory that all share; with ``with``, it is given back at the end.

    Args:
        shares: bytes of the memory.
        client: whose request it is.
    """

    def __init__(self, shares: Shares, client: str) -> None:
        self._shares = shares
        self._client = client
        self._held = 0

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._shares.give_back(self._client, self._held)

    def expect(self, size: int) -> None:
        """Refuse what announces more bytes than there is room for, before any of them is read; errors as of ``add``."""
        if not self._shares.has_room(self._client, size):
            raise _no_memory()

    def add(self, size: int) -> None:
        """Hold so many bytes more.

        Raises:
            HTTPException: 503, they are more than this client's share, or there is no memory left; the connection is to be
                closed.
        """
        if size and not self._shares.take(self._client, size):
            raise _no_memory()
        self._held += size


def _no_memory() -> HTTPException:
    sentence = "found too many bytes of requests at this host; expected fewer at the same time; ask again later"
    return HTTPException(503, sentence, CLOSE)


async def read_body(request: Request, limit: int, timeout_s: float, held: Held, takes: str = "") -> bytes:
    """The whole body as it came, never more than ``limit`` bytes and never later than ``timeout_s``.

    Args:
        held: what has come is added to it.
        takes: a sentence's end that says why the limit is what it is.

    Raises:
        HTTPException: 413 too large, 408 too late, 503 no memory; the connection is to be closed.
        ClientDisconnect: nobody waits for an answer.
    """
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or len(length) > 12 or int(length) > limit:
        found = length if length.isdigit() and len(length) <= 12 else shown(length)
        raise HTTPException(413, f"found a request of {found} bytes; expected at most {limit}{takes}", CLOSE)
    held.expect(int(length))
    try:
        return await _within(timeout_s, _read(request, limit, held, takes))
    except asyncio.TimeoutError:
        raise HTTPException(
            408,
            f"found less than the announced {length} bytes of a request after {timeout_s:g} s; "
            "expected all of them; send it again",
            CLOSE,
        ) from None


async def _within(timeout_s: float, reading: Coroutine[Any, Any, bytes]) -> bytes:
    """What ``reading`` returns, or asyncio.TimeoutError. As asyncio.timeout, which Python 3.10 has not; asyncio.wait_for makes a
    task of each body, which is a tenth of the work that a small request takes."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("found no task; expected to run in one")
    is_late = False

    def stop() -> None:
        nonlocal is_late
        is_late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(timeout_s, stop)
    try:
        return await reading
    except asyncio.CancelledError:
        if not is_late:
            raise
        if hasattr(task, "uncancel"):  # Python 3.11
            task.uncancel()
        raise asyncio.TimeoutError from None
    finally:
        timer.cancel()


async def _read(request: Request, limit: int, held: Held, takes: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise HTTPException(413, f"found a request of more than {limit} bytes; expected at most that{takes}", CLOSE)
        held.add(len(part))
    return b"".join(parts)
