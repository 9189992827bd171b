"""Decides who may ask the host, and how much, before the body of a request is read."""

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from host.credentials.tokens import Tokens
from host.serving.clients import network_of
from host.serving.limits import Refused, Warn
from host.serving.rate import RateLimiter

OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})  # for health probes, which have no token
CHARGE = "charge"  # key in the state of a request: function that counts further frames of this request


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits of one client.

    Attributes:
        rate_hz: frames a second in the long run; 0 = no limit.
        burst: frames that may come at once after a pause, at least 1.
        requests: requests whose answers are pending at the same time; 0 = no limit.
    """

    rate_hz: float = 0.0
    burst: int = 1
    requests: int = 256


class AccessGuard:
    """ASGI middleware that checks tokens and the limits of each client.

    It answers what it refuses with JSON ``{"error": sentence}``: 401 if the token is missing or unknown, 403 if the token and
    the certificate belong to different clients, 429 with Retry-After if the client sends too many requests or frames. It never
    reads a body; host/serving/messages.py closes a connection whose request was answered before its body arrived.

    A client is named by its token, else by the common name of its certificate, else by its address (host/serving/clients.py).
    The application finds the name as ``request.state.client_name``. Health paths need no token and have no limit.

    Args:
        app: the application behind this middleware.
        limits: limits of each client.
        tokens: known tokens; None = no client needs one.
        refused: called for each refusal with the status and one of no_token, unknown_token, other_client, rate,
            client_requests.
        warn: called for each refusal with a sentence. Anyone can cause refusals, so it should not write all of them.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: ClientLimits = ClientLimits(),
        tokens: Tokens | None = None,
        refused: Refused | None = None,
        warn: Warn | None = None,
    ) -> None:
        self._app = app
        self._warn = warn
        self._tokens = tokens
        self._refused = refused
        self._rate = RateLimiter(limits.rate_hz, limits.burst) if limits.rate_hz else None
        self._most = limits.requests or math.inf
        self._pending: dict[str, int] = {}  # number of pending requests of each client that has any

    @property
    def busy_clients(self) -> int:
        """Number of clients that wait for an answer."""
        return len(self._pending)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        certificate = scope.get("state", {}).get("certificate")
        client = certificate or network_of(scope["client"][0] if scope.get("client") else "")
        if self._tokens:
            authorization = _header(scope, b"authorization")
            named = self._tokens.client_of(authorization.decode("latin-1"))
            if named is None:
                what, reason = ("an unknown token", "unknown_token") if authorization else ("no token", "no_token")
                sentence = f"found {what} in the request; expected Authorization: Bearer with one of this host's tokens; ask its operator for one"  # fmt: skip
                await self._refuse(scope, send, 401, reason, sentence, ("www-authenticate", "Bearer"))
                return
            if certificate and certificate != named:
                sentence = f"found the token of {named} and the certificate of {certificate}; expected both of the same client; use its own token"  # fmt: skip
                await self._refuse(scope, send, 403, "other_client", sentence)
                return
            client = named
        pending = self._pending.get(client, 0)
        if pending >= self._most:
            sentence = f"found {pending} requests of {client} at hand; expected at most {self._most:g} at the same time; wait for their answers"  # fmt: skip
            await self._refuse(scope, send, 429, "client_requests", sentence, ("retry-after", "1"))
            return
        wait_s = self._rate.wait_s(client) if self._rate else 0.0
        if wait_s:
            sentence, seconds = self._rate_sentence(client, wait_s)
            await self._refuse(scope, send, 429, "rate", sentence, ("retry-after", seconds))
            return
        scope.setdefault("state", {})["client_name"] = client
        if self._rate:
            scope["state"][CHARGE] = functools.partial(self._charge, client)
        self._pending[client] = pending + 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._pending[client] -= 1
            if not self._pending[client]:
                del self._pending[client]

    def _charge(self, client: str, frames: int) -> None:
        """Count further frames of a request whose first frame was counted when its head arrived."""
        wait_s = self._rate.wait_s(client, frames) if self._rate else 0.0
        if wait_s:
            if self._refused:
                self._refused(429, "rate")
            sentence, seconds = self._rate_sentence(client, wait_s)
            raise HTTPException(429, sentence, {"Retry-After": seconds})

    def _rate_sentence(self, client: str, wait_s: float) -> tuple[str, str]:
        """A sentence for the client, and the value of Retry-After."""
        seconds = math.ceil(wait_s)
        return f"found more frames of {client} than this host takes from one client; expected at most {self._rate}; ask again in {seconds} s", str(seconds)  # fmt: skip

    async def _refuse(
        self, scope: Scope, send: Send, status: int, reason: str, sentence: str, *more_headers: tuple[str, str]
    ) -> None:
        if self._refused:
            self._refused(status, reason)
        if self._warn:
            self._warn(f"refused a request of {scope['client'][0] if scope.get('client') else 'a client'}: {sentence}")
        body = json.dumps({"error": sentence}).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), *more_headers]
        raw = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


def charge(scope: Scope, frames: int) -> None:
    """Count the frames of a request that has been read against the rate of its client. The guard has counted the first of
    them already.

    Raises:
        HTTPException: 429 with Retry-After, the client sends too many frames.
    """
    count_more: Callable[[int], None] | None = scope.get("state", {}).get(CHARGE) if frames > 1 else None
    if count_more:
        count_more(frames - 1)


def _header(scope: Scope, wanted: bytes) -> bytes:
    for name, value in scope["headers"]:
        if name == wanted:
            return bytes(value)
    return b""
