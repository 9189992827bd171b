"""Command-line options that say who may ask the host, and how much."""

import argparse
import math
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from device.errors import UsageError
from device.system.options import decimal, whole
from host.credentials.tokens import Tokens
from host.serving.connections import bounded_protocol
from host.serving.guard import AccessGuard, ClientLimits
from host.serving.limits import ConnectionLimits, Refused, Warn


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """The options as objects: ``wrap`` puts the guard before an application, ``protocol`` makes what uvicorn.Config takes as
    ``http``.

    Attributes:
        client_limits: limits of one client.
        tokens: known tokens; None = no client needs one.
        connection_limits: limits of connections.
        warn_seldom: called with a sentence for each refusal.
    """

    client_limits: ClientLimits
    tokens: Tokens | None
    connection_limits: ConnectionLimits
    warn_seldom: Warn | None = None

    def wrap(self, app: ASGIApp, refused: Refused | None = None) -> AccessGuard:
        """``app`` behind the guard; ``refused`` is called for each refusal."""
        return AccessGuard(app, self.client_limits, self.tokens, refused, self.warn_seldom)

    def protocol(self, refused: Refused | None = None, tls: ssl.SSLContext | None = None) -> type[Any]:
        """uvicorn's protocol within the limits of connections. ``tls`` is given here and not to uvicorn, because only then
        the limits hold for TLS handshakes as well."""
        return bounded_protocol(self.connection_limits, refused, tls, self.warn_seldom)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the guard and of the limits of connections."""
    add = parser.add_argument
    add("--token-file", metavar="FILE", help="answer only clients with a token of this file: NAME: TOKEN, one a line (default: all)")  # fmt: skip
    add("--rate", type=decimal(0.001, 1e6), metavar="HZ", help="frames a second that one client may send (default: no limit)")  # fmt: skip
    add("--burst", type=whole(1), metavar="N", help="frames at once within --rate (default: those of one second)")
    add("--client-requests", type=whole(1), default=256, metavar="N", help="of one client at the same time (default 256)")  # fmt: skip
    add("--max-connections", type=whole(1), default=4096, metavar="N", help="open at the same time (default 4096)")
    add("--client-connections", type=whole(1), default=256, metavar="N", help="of one address at the same time (default 256)")  # fmt: skip


def guard_options_of(
    arguments: argparse.Namespace, warn: Warn | None = None, warn_seldom: Warn | None = None
) -> GuardOptions:
    """The options as they were given.

    Args:
        warn: called with a sentence for each problem with the token file, now and later.
        warn_seldom: called with a sentence for each refusal.

    Raises:
        UsageError: an option is out of range, or the token file cannot be used.
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
    client_limits = ClientLimits(rate or 0.0, burst, arguments.client_requests)
    connection_limits = ConnectionLimits(arguments.max_connections, arguments.client_connections)
    return GuardOptions(client_limits, tokens, connection_limits, warn_seldom)
