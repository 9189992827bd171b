"""Limits of connections, and how they are fitted to the number of files that the process may open."""

import dataclasses
from collections.abc import Callable

from device.errors import UsageError

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

SPARE_FILES = 128  # for everything that is not a connection of a device
FEWEST_FILES = 64  # with fewer a host is of no use: about twenty are open before the first connection

Refused = Callable[[int, str], None]
"""Called for each refusal with the HTTP status (0 for a connection that was closed without an answer) and the reason as one
word."""

Warn = Callable[[str], None]
"""Called with a sentence for the operator."""


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of connections.

    Attributes:
        most: number of connections that are open at the same time.
        of_one_address: number of them that come from one address (host/serving/clients.py).
        patience_s: seconds in which a TLS handshake must be done, the head of a request must arrive, and answers must be read.
        head_bytes: largest head of a request.
        pipelined: number of requests on one connection that may wait for the answer to the one before.
    """

    most: int = 4096
    of_one_address: int = 256
    patience_s: float = 10.0
    head_bytes: int = 64 << 10
    pipelined: int = 16


def fitted(limits: ConnectionLimits, warn: Warn) -> ConnectionLimits:
    """The limits with no more connections than this process may open files for. The soft limit of open files is raised if it
    is too low. ``warn`` is called if fewer connections are possible than asked for.

    Raises:
        UsageError: the process may open too few files for any use.
    """
    wanted = limits.most + SPARE_FILES
    files = _open_files(wanted)
    if files < FEWEST_FILES:
        raise UsageError(f"found that this process may open {files} files; expected at least {FEWEST_FILES}; start the host behind: ulimit -n {wanted}")  # fmt: skip
    most = max(files - SPARE_FILES, files // 2)
    if most >= limits.most:
        return limits
    warn(f"found that this process may open {files} files; expected {wanted} for --max-connections {limits.most}; at most {most} connections are open at the same time; raise the limit with: ulimit -n {wanted}")  # fmt: skip
    return dataclasses.replace(limits, most=most)


def _open_files(wanted: int) -> int:
    if resource is None:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft
