"""Sends requests to the replicas of the host: several in one call, and again to another replica if one dies.

Ray Serve's own proxy sends each request by itself, in three messages. Ten times fewer frames a second came through it than
through a host without Ray. Here the requests that gather while calls are on their way go to one replica in one call.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException

from host.app.fairness import FairQueue, SharedBudget
from host.serving.clients import address_of

TRIES = 3  # number of replicas that may die while they answer the same request
MAX_GROUP = 32  # requests in one call
MAX_GROUP_BYTES = 8 << 20  # bytes of the bodies in one call
LEAST_WORK = 4096  # bytes as which the body of a request counts at least, so that small requests count too
SEEN_WITHIN_S = 10.0  # a replica that has not answered for so many seconds does not count as present


class ReplicaDied(Exception):
    """The replica that had a call is gone, and nobody knows how much of the call it did."""


class Unavailable(Exception):
    """No replica takes a call. The text is for the client."""


class ForwardedRequest(NamedTuple):
    """A request on its way to a replica: its ASGI scope, reduced to plain values, and its body."""

    scope: dict[str, Any]
    body: bytes


class Reply(NamedTuple):
    """The answer to a request; headers as ASGI has them."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


CallReplica = Callable[[Sequence[ForwardedRequest]], Awaitable[tuple[str, Sequence[Reply]]]]
"""Function that sends requests to one replica in one call. It returns the name of the replica and the replies in the order of the
requests, and raises ReplicaDied or Unavailable."""


class Dispatcher:
    """Groups requests into calls.

    The number of calls on their way is at most two for each replica that answered lately, one that runs and one that waits
    behind it, and one more for replicas that have not answered yet. Requests that come meanwhile gather here. The clients
    get equal shares of the calls (host/app/fairness.py).

    Args:
        call: makes a call.
        max_waiting: requests that may wait here, of which one client may have half; further requests get 503.
        timeout_s: seconds for which a request waits for its reply.
    """

    def __init__(self, call: CallReplica, max_waiting: int = 2048, timeout_s: float = 30.0) -> None:
        self._call = call
        self._places = SharedBudget(max_waiting)
        self._timeout_s = timeout_s
        self._waiting: FairQueue[_WaitingRequest] = FairQueue()
        self._again: deque[_WaitingRequest] = deque()  # requests whose replica died
        self._calls: set[asyncio.Task[None]] = set()
        self._seen: dict[str, float] = {}  # replica -> time of its last reply

    @property
    def waiting_requests(self) -> int:
        """Number of requests that wait for a call."""
        return len(self._waiting) + len(self._again)

    async def dispatch(self, request: ForwardedRequest) -> Reply:
        """Send a request to a replica and return its reply.

        Raises:
            HTTPException: 503 too many requests wait, no replica is there, or too many replicas died; 500 the replica failed.
        """
        client = address_of(request.scope)
        if not self._places.take(client, 1):
            raise HTTPException(503, "too many frames wait at this cluster; ask again later or ask another")
        waiting = _WaitingRequest(request, client)
        self._waiting.put(client, LEAST_WORK + len(request.body), waiting)
        self._start_calls()
        try:
            return await asyncio.wait_for(waiting.reply, self._timeout_s)
        except asyncio.TimeoutError:
            raise HTTPException(503, f"no replica answered within {self._timeout_s:g} s; ask again later") from None

    def _start_calls(self) -> None:
        while (self._waiting or self._again) and len(self._calls) < self._most_calls():
            group = self._next_group()
            if group:
                task = asyncio.get_running_loop().create_task(self._call_with(group))
                self._calls.add(task)
                task.add_done_callback(self._call_has_ended)

    def _call_has_ended(self, task: "asyncio.Task[None]") -> None:
        self._calls.discard(task)
        self._start_calls()

    def _most_calls(self) -> int:
        now = time.monotonic()
        self._seen = {name: at for name, at in self._seen.items() if now - at < SEEN_WITHIN_S}
        return 2 * max(1, len(self._seen)) + 1

    def _next_group(self) -> "list[_WaitingRequest]":
        group: list[_WaitingRequest] = []
        size = 0
        while self._again:
            first = self._again.popleft()
            if not first.reply.done():
                return [first]  # alone: if replicas die of this request, no other request suffers from it
        while self._waiting and len(group) < MAX_GROUP:
            if group and size + len(self._waiting.first().request.body) > MAX_GROUP_BYTES:
                break
            first = self._waiting.take()
            self._places.give_back(first.client, 1)
            if first.reply.done():
                continue  # its client has gone
            group.append(first)
            size += len(first.request.body)
        return group

    async def _call_with(self, group: "list[_WaitingRequest]") -> None:
        try:
            name, replies = await self._call([each.request for each in group])
        except ReplicaDied as error:
            print(f"warning: a replica died under {len(group)} requests ({error}); another is asked", file=sys.stderr, flush=True)  # fmt: skip
            for each in reversed(group):
                each.deaths += 1
                if each.deaths < TRIES:
                    self._again.appendleft(each)
                else:
                    each.fail(HTTPException(503, f"{TRIES} replicas died under this request; ask again later"))
        except Unavailable as error:
            for each in group:
                each.fail(HTTPException(503, str(error)))
        except Exception as error:  # whatever the replica raised; only the requests of this call are concerned
            for each in group:
                each.fail(HTTPException(500, f"the replica failed on this request ({str(error)[:200]}); ask again"))
        else:
            self._seen[name] = time.monotonic()
            for each, reply in zip(group, replies, strict=True):
                if not each.reply.done():
                    each.reply.set_result(reply)


class _WaitingRequest:
    def __init__(self, request: ForwardedRequest, client: str) -> None:
        self.request = request
        self.client = client
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.deaths = 0  # number of replicas that died while they had this request

    def fail(self, error: HTTPException) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)
