"""Carries HTTP requests to the replicas of the host: several in one call, and once more when a replica dies.

The proxy of Ray Serve sends each request by itself, in three messages, reads bodies without bound, says its errors in
plain text, and when a replica dies under a request it answers 500. Ten times fewer frames a second came through it than
through the embedded host. So this middleware stands before it and takes the whole of each request, within bounds; what
has gathered while calls are on their way goes to one replica in one call, whose application answers each by itself.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from host.app.body import HeldMemory, read_body
from host.app.fairness import FairQueue, SharedBudget
from host.serving.clients import address_of

TRIES = 3  # replicas that may die under one request
MAX_GROUP = 32  # requests in one call
MAX_GROUP_BYTES = 8 << 20
LEAST_WORK = 4096  # of a request, in bytes, so that small ones count too
MEMORY_REQUESTS = 16  # of the largest size, which all that wait may take together
SEEN_WITHIN_S = 10.0
SCOPE = ("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers",
         "client", "server")  # fmt: skip


class ReplicaDied(Exception):
    """The replica that had a call is gone; nobody knows how far it came."""


class Unavailable(Exception):
    """No replica takes a call; the text is for the client."""


class Carried(NamedTuple):
    """A request: its ASGI scope, as plain values, and its body."""

    scope: dict[str, Any]
    body: bytes


class Reply(NamedTuple):
    """headers: as ASGI has them."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


Ask = Callable[[Sequence[Carried]], Awaitable[tuple[str, Sequence[Reply]]]]
"""Requests -> the name of the replica that answered, and its replies in their order; raises ReplicaDied, Unavailable."""


class Carrier:
    """Sends requests in groups. Calls are on their way at most twice as many as replicas have answered lately, and one
    for those that have not: one that runs and one that waits for it, so that what comes meanwhile gathers here.

    The clients get equal shares of the calls (host/app/fairness.py).

    Args:
        ask: makes a call.
        max_waiting: requests that may wait here, of which one client may have half; further ones get 503.
        timeout_s: for which a request waits for its reply.
    """

    def __init__(self, ask: Ask, max_waiting: int = 2048, timeout_s: float = 30.0) -> None:
        self._ask = ask
        self._places = SharedBudget(max_waiting)
        self._timeout_s = timeout_s
        self._waiting: FairQueue[_Waiting] = FairQueue()
        self._again: deque[_Waiting] = deque()  # those under which a replica died
        self._calls: set[asyncio.Task[None]] = set()
        self._seen: dict[str, float] = {}

    async def carry(self, request: Carried) -> Reply:
        """The reply of a replica.

        Raises:
            HTTPException: 503 too many wait, no replica is up, or too many died; 500 the replica failed.
        """
        client = address_of(request.scope)
        if not self._places.take(client, 1):
            raise HTTPException(503, "too many frames wait at this cluster; ask again later or ask another")
        waiting = _Waiting(request, client)
        self._waiting.put(client, LEAST_WORK + len(request.body), waiting)
        self._send()
        try:
            return await asyncio.wait_for(waiting.reply, self._timeout_s)
        except asyncio.TimeoutError:
            raise HTTPException(503, f"no replica answered within {self._timeout_s:g} s; ask again later") from None

    def _send(self) -> None:
        while (self._waiting or self._again) and len(self._calls) < self._most():
            group = self._take()
            if group:
                task = asyncio.get_running_loop().create_task(self._call(group))
                self._calls.add(task)
                task.add_done_callback(self._called)

    def _called(self, task: "asyncio.Task[None]") -> None:
        self._calls.discard(task)
        self._send()

    def _most(self) -> int:
        now = time.monotonic()
        self._seen = {name: at for name, at in self._seen.items() if now - at < SEEN_WITHIN_S}
        return 2 * max(1, len(self._seen)) + 1

    def _take(self) -> "list[_Waiting]":
        group: list[_Waiting] = []
        size = 0
        while self._again:
            first = self._again.popleft()
            if not first.reply.done():
                return [first]  # alone: should it be what replicas die of, no other request goes with it
        while self._waiting and len(group) < MAX_GROUP:
            if group and size + len(self._waiting.first().request.body) > MAX_GROUP_BYTES:
                break
            first = self._waiting.take()
            self._places.give_back(first.client, 1)
            if first.reply.done():
                continue  # nobody waits for it any more
            group.append(first)
            size += len(first.request.body)
        return group

    async def _call(self, group: "list[_Waiting]") -> None:
        try:
            name, replies = await self._ask([each.request for each in group])
        except ReplicaDied as error:
            print(
                f"warning: a replica died under {len(group)} requests ({error}); another is asked",
                file=sys.stderr,
                flush=True,
            )
            for each in reversed(group):
                each.deaths += 1
                if each.deaths < TRIES:
                    self._again.appendleft(each)
                else:
                    each.fail(HTTPException(503, f"{TRIES} replicas died under this request; ask again later"))
        except Unavailable as error:
            for each in group:
                each.fail(HTTPException(503, str(error)))
        except Exception as error:  # whatever a replica raised: its requests are answered, the others go on
            for each in group:
                each.fail(HTTPException(500, f"the replica failed on this request ({str(error)[:200]}); ask again"))
        else:
            self._seen[name] = time.monotonic()
            for each, reply in zip(group, replies, strict=True):
                if not each.reply.done():
                    each.reply.set_result(reply)


class _Waiting:
    def __init__(self, request: Carried, client: str) -> None:
        self.request = request
        self.client = client
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.deaths = 0

    def fail(self, error: HTTPException) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


class Front:
    """ASGI middleware: carries every request but those to paths of Ray Serve itself, which begin with /-/.

    Args:
        app: the proxy of Ray Serve.
        ask: makes a call.
        max_body_bytes: of a request.
        body_timeout_s: how long a request's body may take to come.
    """

    def __init__(self, app: ASGIApp, ask: Ask, max_body_bytes: int = 64 << 20, body_timeout_s: float = 10.0) -> None:
        self._app = app
        self._carrier = Carrier(ask)
        self._max_body_bytes = max_body_bytes
        self._memory = SharedBudget(MEMORY_REQUESTS * max_body_bytes)
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/-/"):
            await self._app(scope, receive, send)
            return
        try:
            with HeldMemory(self._memory, address_of(scope)) as held:
                body = await read_body(Request(scope, receive), self._max_body_bytes, self._body_timeout_s, held)
                reply = await self._carrier.carry(Carried({key: scope[key] for key in SCOPE if key in scope}, body))
        except ClientDisconnect:
            return
        except HTTPException as error:
            await JSONResponse({"error": error.detail}, error.status_code, error.headers)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})


async def replied(app: ASGIApp, request: Carried) -> Reply:
    """The other end: what an application answers."""
    messages: list[Message] = []
    parts: list[Message] = [{"type": "http.request", "body": request.body, "more_body": False}]

    async def receive() -> Message:
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        messages.append(message)

    try:
        await app(dict(request.scope), receive, send)
    except Exception:  # the application has answered 500 before it raises; the server logs, the other requests go on
        if not messages:
            raise
    body = b"".join(message.get("body", b"") for message in messages[1:])
    return Reply(messages[0]["status"], list(messages[0]["headers"]), body)
