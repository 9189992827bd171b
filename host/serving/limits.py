"""Limits of connections, and what counts as one client's address."""

import functools
import ipaddress
from collections.abc import Callable
from typing import NamedTuple

from device.errors import UsageError

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

SPARE_FILES = 128  # for everything that is not a connection of a device
FEWEST_FILES = 64  # with fewer a host has no use: some twenty are open before the first connection

Refused = Callable[[int, str], None]
"""Told of each refusal: the HTTP status, 0 for a connection closed without an answer, and the reason as one word."""

Warn = Callable[[str], None]
"""Takes a sentence for the operator."""


class ConnectionLimits(NamedTuple):
    """most: open connections, and of_one_address; with IPv6 of the first 64 bits, all of which one client usually has.
    patience_s: for the TLS handshake and for the head of a request to come, and for answers to be read. head_bytes: of a
    request. pipelined: requests that may wait on a connection for the answer to the one before."""

    most: int = 4096
    of_one_address: int = 256
    patience_s: float = 10.0
    head_bytes: int = 64 << 10
    pipelined: int = 16


def fitted(limits: ConnectionLimits, warn: Warn) -> ConnectionLimits:
    """The limits, with as many connections as this process may open files for; its soft limit of open files is raised
    where that is too low. ``warn`` is told if there are fewer connections than asked for.

    Raises:
        UsageError: too few files for any use.
    """
    wanted = limits.most + SPARE_FILES
    files = _open_files(wanted)
    if files < FEWEST_FILES:
        raise UsageError(f"found that this process may open {files} files; expected at least {FEWEST_FILES}; start the host behind: ulimit -n {wanted}")  # fmt: skip
    most = max(files - SPARE_FILES, files // 2)
    if most >= limits.most:
        return limits
    warn(f"found that this process may open {files} files; expected {wanted} for --max-connections {limits.most}; at most {most} connections are open at the same time; raise the limit with: ulimit -n {wanted}")  # fmt: skip
    return limits._replace(most=most)


def _open_files(wanted: int) -> int:
    if resource is None:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


@functools.lru_cache(8192)
def network_of(address: str) -> str:
    """What counts as one client's address: of IPv6 its first 64 bits, all of which one client usually has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address) or parsed.is_loopback:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
