"""Who may ask the host, and how much: tokens, and limits of each client, tested before a request's body is read."""

import argparse
import functools
import json
import math
import ssl
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from device.errors import UsageError
from device.system.options import decimal, whole
from host.credentials.tokens import Tokens
from host.serving.connections import bounded_protocol
from host.serving.limits import ConnectionLimits, Refused, Warn, network_of

OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})  # for probes, which have no token
MAX_CLIENTS = 8192  # whose rate is remembered; the one longest unseen is forgotten
CHARGE = "charge"  # in the state of a request: counts more of its frames


class GuardSettings(NamedTuple):
    """Limits of one client; 0 = none.

    rate_hz: frames a second in the long run. burst: frames that may come at once after a pause. client_requests: at
    hand at the same time.
    """

    rate_hz: float = 0.0
    burst: int = 1
    client_requests: int = 256


class Guard:
    """ASGI middleware that answers what it refuses with JSON ``{"error": sentence}``: 401 no token or an unknown one, 403
    a token of another client than the certificate, 429 too many requests or frames, with Retry-After. It reads no body: that
    connections stay in step is up to host/serving/messages.py.

    A client is the name of its token, else the common name of its certificate, else its address (of IPv6 the first 64
    bits, of which one client usually has all). The application finds that name as ``request.state.client_name``. Health
    needs no token and has no limit.

    Args:
        app: behind it.
        tokens: None = nobody needs one.
        refused: told of each refusal: status and one of no_token, unknown_token, other_client, rate, client_requests.
        warn: told the same in a sentence; anyone can cause it, so not each should be written.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: GuardSettings = GuardSettings(),  # noqa: B008 (immutable)
        tokens: Tokens | None = None,
        refused: Refused | None = None,
        warn: Warn | None = None,
    ) -> None:
        self._app = app
        self._warn = warn
        self._tokens = tokens
        self._refused = refused
        self._rate = _Rate(settings.rate_hz, settings.burst) if settings.rate_hz else None
        self._most = settings.client_requests or math.inf
        self._running: dict[str, int] = {}  # requests at hand of each client that has any

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
        running = self._running.get(client, 0)
        if running >= self._most:
            sentence = f"found {running} requests of {client} at hand; expected at most {self._most:g} at the same time; wait for their answers"  # fmt: skip
            await self._refuse(scope, send, 429, "client_requests", sentence, ("retry-after", "1"))
            return
        wait_s = self._rate.wait_s(client) if self._rate else 0.0
        if wait_s:
            sentence, seconds = self._too_fast(client, wait_s)
            await self._refuse(scope, send, 429, "rate", sentence, ("retry-after", seconds))
            return
        scope.setdefault("state", {})["client_name"] = client
        if self._rate:
            scope["state"][CHARGE] = functools.partial(self._charge, client)
        self._running[client] = running + 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]

    def _charge(self, client: str, frames: int) -> None:
        """Count more frames of a request whose first was counted at its head."""
        wait_s = self._rate.wait_s(client, frames) if self._rate else 0.0
        if wait_s:
            if self._refused:
                self._refused(429, "rate")
            sentence, seconds = self._too_fast(client, wait_s)
            raise HTTPException(429, sentence, {"Retry-After": seconds})

    def _too_fast(self, client: str, wait_s: float) -> tuple[str, str]:
        """A sentence, and for Retry-After."""
        seconds = math.ceil(wait_s)
        return f"found more frames of {client} than this host takes from one client; expected at most {self._rate}; ask again in {seconds} s", str(seconds)  # fmt: skip

    async def _refuse(
        self,
        scope: Scope,
        send: Send,
        status: int,
        reason: str,
        sentence: str,
        *more: tuple[str, str],
    ) -> None:
        if self._refused:
            self._refused(status, reason)
        if self._warn:
            self._warn(f"refused a request of {scope['client'][0] if scope.get('client') else 'a client'}: {sentence}")
        body = json.dumps({"error": sentence}).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), *more]
        raw = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


class _Rate:
    """Token buckets in the form of the generic cell rate algorithm (ITU-T I.371): of each client only the time at which
    its bucket will be full again."""

    def __init__(self, rate_hz: float, burst: int) -> None:
        self._interval_s = 1 / rate_hz
        self._bucket_s = (burst - 1) * self._interval_s
        self._text = f"{rate_hz:g} a second and {burst} at once"
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __str__(self) -> str:
        return self._text

    def wait_s(self, client: str, more: int = 0) -> float:
        """0 = go on, and a frame is counted; else the seconds after which the client may ask again.

        Args:
            more: frames to count of a request whose first was counted. One that may begin is taken whole, so that a request
                may have more frames than fit into a bucket; the client's next one waits the longer.
        """
        now = time.monotonic()
        full_at = self._full_at.get(client, now)
        counted_s = self._interval_s if more else 0.0
        if full_at < now:
            full_at = now
        elif full_at - counted_s - now > self._bucket_s + 1e-9:
            return full_at - counted_s - now - self._bucket_s
        self._full_at[client] = full_at + (more or 1) * self._interval_s
        self._full_at.move_to_end(client)
        if len(self._full_at) > MAX_CLIENTS:
            self._full_at.popitem(last=False)
        return 0.0


def charge(scope: Scope, frames: int) -> None:
    """Count the frames of a request against the rate of its client; its first was counted at its head.

    Raises:
        HTTPException: 429, with Retry-After.
    """
    of_client = scope.get("state", {}).get(CHARGE) if frames > 1 else None
    if of_client:
        of_client(frames - 1)


def _header(scope: Scope, wanted: bytes) -> bytes:
    for name, value in scope["headers"]:
        if name == wanted:
            return bytes(value)
    return b""


class Guarding(NamedTuple):
    """What the options say: ``wrap`` the application, and start uvicorn with uvicorn.Config(http=protocol(...), ws="none").
    With ``tls`` given to ``protocol`` and not to uvicorn, a TLS handshake is bounded too."""

    settings: GuardSettings
    tokens: Tokens | None
    limits: ConnectionLimits
    warn_seldom: Warn | None = None

    def wrap(self, app: ASGIApp, refused: Refused | None = None) -> Guard:
        return Guard(app, self.settings, self.tokens, refused, self.warn_seldom)

    def protocol(self, refused: Refused | None = None, tls: ssl.SSLContext | None = None) -> type[Any]:
        return bounded_protocol(self.limits, refused, tls, self.warn_seldom)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of who may ask, and how much."""
    add = parser.add_argument
    add("--token-file", metavar="FILE", help="answer only clients with a token of this file: NAME: TOKEN, one a line (default: all)")  # fmt: skip
    add(
        "--rate",
        type=decimal(0.001, 1e6),
        metavar="HZ",
        help="frames a second that one client may send (default: no limit)",
    )
    add("--burst", type=whole(1), metavar="N", help="frames at once within --rate (default: those of one second)")
    add(
        "--client-requests",
        type=whole(1),
        default=256,
        metavar="N",
        help="of one client at the same time (default 256)",
    )
    add("--max-connections", type=whole(1), default=4096, metavar="N", help="open at the same time (default 4096)")
    add("--client-connections", type=whole(1), default=256, metavar="N", help="of one address at the same time (default 256)")  # fmt: skip


def guard_of(arguments: argparse.Namespace, warn: Warn | None = None, warn_seldom: Warn | None = None) -> Guarding:
    """The options as given; ``warn`` is told of problems with the tokens file, now and later, and ``warn_seldom`` of each
    refusal.

    Raises:
        UsageError: an option out of range, or a tokens file that cannot be used.
    """
    rate = arguments.rate
    if rate is not None and not 1e-3 <= rate <= 1e6:
        raise UsageError(f"found --rate {rate:g}; expected 0.001 to 1000000 frames a second")
    if arguments.burst is not None and rate is None:
        raise UsageError(
            "found --burst without --rate; expected the frames a second that a client may send; add --rate"
        )
    burst = max(1, math.ceil(rate or 0)) if arguments.burst is None else arguments.burst
    for option, value in (
        ("--burst", burst),
        ("--client-requests", arguments.client_requests),
        ("--max-connections", arguments.max_connections),
        ("--client-connections", arguments.client_connections),
    ):
        if value < 1:
            raise UsageError(f"found {option} {value}; expected at least 1")
    tokens = Tokens(Path(arguments.token_file), warn) if arguments.token_file else None
    limits = ConnectionLimits(arguments.max_connections, arguments.client_connections)
    return Guarding(GuardSettings(rate or 0.0, burst, arguments.client_requests), tokens, limits, warn_seldom)
