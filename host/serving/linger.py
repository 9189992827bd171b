"""Reads and drops what a client still sends of a request that has its answer."""

import asyncio
import contextlib

from starlette.types import Receive

LINGER_S, LINGER_BYTES = 1.0, 8 << 20


async def linger(receive: Receive) -> None:
    """Read and drop what still comes, for a while. To close while the client sends would reset the connection, and many
    clients would then report that instead of the answer."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_drop(receive), LINGER_S)


async def _drop(receive: Receive) -> None:
    size = 0
    while size < LINGER_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return
