"""Receives the body of a request within bounds: its size, its time, and the memory of all requests together."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from device.system.json_text import shown
from host.app.fairness import SharedBudget

CLOSE = {"Connection": "close"}  # what follows on the connection would be taken for another request


class HeldMemory:
    """The part of the memory for requests that one request holds. As a context manager it gives the part back at the end.

    Args:
        memory: bytes that all requests share.
        client: name of the client that sent the request.
    """

    def __init__(self, memory: SharedBudget, client: str) -> None:
        self._memory = memory
        self._client = client
        self._held = 0

    def __enter__(self) -> "HeldMemory":
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._memory.give_back(self._client, self._held)

    def expect(self, size: int) -> None:
        """Refuse a request that announces more bytes than there is room for, before any of them is read. Raises as ``add``."""
        if not self._memory.has_room(self._client, size):
            raise _no_memory()

    def add(self, size: int) -> None:
        """Hold so many bytes more.

        Raises:
            HTTPException: 503, they exceed the share of this client, or no memory is left. The connection is to be closed.
        """
        if size and not self._memory.take(self._client, size):
            raise _no_memory()
        self._held += size


def _no_memory() -> HTTPException:
    sentence = "found too many bytes of requests at this host; expected fewer at the same time; ask again later"
    return HTTPException(503, sentence, CLOSE)


async def read_body(request: Request, limit: int, timeout_s: float, held: HeldMemory, limit_reason: str = "") -> bytes:
    """The whole body as it was received.

    Args:
        limit: largest number of bytes.
        timeout_s: seconds in which all of it must arrive.
        held: memory of this request; the bytes that arrive are added to it.
        limit_reason: end of the sentence of an error, which says where the limit comes from.

    Raises:
        HTTPException: 413 the body is too large, 408 it did not arrive in time, 503 no memory is left for it. The connection
            is to be closed.
        ClientDisconnect: the client has gone.
    """
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or len(length) > 12 or int(length) > limit:
        found = length if length.isdigit() and len(length) <= 12 else shown(length)
        raise HTTPException(413, f"found a request of {found} bytes; expected at most {limit}{limit_reason}", CLOSE)
    held.expect(int(length))
    try:
        return await _within(timeout_s, _read(request, limit, held, limit_reason))
    except asyncio.TimeoutError:
        raise HTTPException(
            408,
            f"found less than the announced {length} bytes of a request after {timeout_s:g} s; "
            "expected all of them; send it again",
            CLOSE,
        ) from None


async def _within(timeout_s: float, reading: Coroutine[Any, Any, bytes]) -> bytes:
    """Return what ``reading`` returns, or raise asyncio.TimeoutError after ``timeout_s`` seconds.

    It does what asyncio.timeout does, which Python 3.10 lacks. asyncio.wait_for would make a task for each body, which is a
    tenth of the work for a small request.
    """
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


async def _read(request: Request, limit: int, held: HeldMemory, limit_reason: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise HTTPException(
                413, f"found a request of more than {limit} bytes; expected at most that{limit_reason}", CLOSE
            )
        held.add(len(part))
    return b"".join(parts)
