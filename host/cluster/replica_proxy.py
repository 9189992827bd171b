"""Both ends of the way from the proxy of a node to a replica.

Ray Serve's own proxy reads bodies without a bound, answers its errors in plain text, and answers 500 if a replica dies while it
has a request. So ReplicaProxy stands before it, takes in each request as a whole and within bounds, and leaves it to the
Dispatcher. In the replica, ``answer_of`` runs the application for each request.
"""

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from host.app.body import HeldMemory, read_body
from host.app.fairness import SharedBudget
from host.cluster.dispatcher import CallReplica, Dispatcher, ForwardedRequest, Reply
from host.serving.clients import address_of

MEMORY_REQUESTS = 16  # number of requests of the largest size whose bodies fit into the memory for waiting requests
RAY_SERVE_PATHS = "/-/"  # beginning of the paths that Ray Serve itself answers
SCOPE = ("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers",
         "client", "server")  # fmt: skip


class ReplicaProxy:
    """ASGI middleware that forwards every request to a replica, except those to the paths of Ray Serve itself.

    Args:
        app: the proxy of Ray Serve.
        call: makes a call to a replica.
        max_body_bytes: largest body of a request.
        body_timeout_s: seconds in which the body of a request must arrive.
        memory: bytes that all waiting requests share; None = enough for 16 of the largest.
    """

    def __init__(
        self,
        app: ASGIApp,
        call: CallReplica,
        max_body_bytes: int = 64 << 20,
        body_timeout_s: float = 10.0,
        memory: SharedBudget | None = None,
    ) -> None:
        self._app = app
        self._dispatcher = Dispatcher(call)
        self._max_body_bytes = max_body_bytes
        self._memory = memory or SharedBudget(MEMORY_REQUESTS * max_body_bytes)
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(RAY_SERVE_PATHS):
            await self._app(scope, receive, send)
            return
        try:
            with HeldMemory(self._memory, address_of(scope)) as held:
                body = await read_body(Request(scope, receive), self._max_body_bytes, self._body_timeout_s, held)
                plain_scope = {key: scope[key] for key in SCOPE if key in scope}
                reply = await self._dispatcher.dispatch(ForwardedRequest(plain_scope, body))
        except ClientDisconnect:
            return
        except HTTPException as error:
            await JSONResponse({"error": error.detail}, error.status_code, error.headers)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})


async def answer_of(app: ASGIApp, request: ForwardedRequest) -> Reply:
    """Run an application for one forwarded request, and return what it answers."""
    messages: list[Message] = []
    parts: list[Message] = [{"type": "http.request", "body": request.body, "more_body": False}]

    async def receive() -> Message:
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        messages.append(message)

    try:
        await app(dict(request.scope), receive, send)
    except Exception:  # Starlette answers 500 and then raises; the answer is enough
        if not messages:
            raise
    body = b"".join(message.get("body", b"") for message in messages[1:])
    return Reply(messages[0]["status"], list(messages[0]["headers"]), body)
