"""Measures the link to a host: the round trip of a small request, and how much longer one with a large head takes.

Padding in the head is used because every HTTP server takes it without an inference, up to a limit that PADDING is below.
"""

import http.client
import statistics
from time import perf_counter
from typing import List

from device.errors import HostError
from device.link.connection import Connection
from device.link.credentials import Credentials
from device.link.deadline import Deadline
from device.link.endpoint import endpoint_of
from device.planning.placements import Link

PADDING = 40000
ROUNDS = 7
TIMEOUT_S = 20.0
FASTEST_BIT_S = 1e10


def measured_link(url: str, credentials: Credentials) -> Link:
    """The link to the host at ``url``.

    Raises:
        HostError: it does not answer, or not to requests with large heads.
    """
    endpoint = endpoint_of(url, credentials)
    connection = Connection(endpoint)
    head = "GET /v2/health/live HTTP/1.1\r\nHost: {}\r\n{}".format(endpoint.authority, credentials.authorization())
    small, large = (
        "{}X-Padding: {}\r\n\r\n".format(head, "0" * padding).encode("ascii") for padding in (1, 1 + PADDING)
    )
    spent: List[List[float]] = [[], []]
    try:
        for number in range(ROUNDS + 2):  # the first two open the connection and its window
            for kind, request in enumerate((small, large)):
                started_s = perf_counter()
                answer = connection.exchange(request, Deadline.after(TIMEOUT_S))
                if answer.status != 200:
                    raise HostError("found status {} from {} for a request with a head of {} bytes; expected 200; tell the link with "
                                    "--link and --rtt instead".format(answer.status, url, len(request)))  # fmt: skip
                if number >= 2:
                    spent[kind].append(perf_counter() - started_s)
    except (OSError, http.client.HTTPException) as error:
        raise HostError("found no answer from {} ({}); expected a host; start it, or tell the link with --link and --rtt".format(
            url, error)) from error  # fmt: skip
    finally:
        connection.close()
    rtt_s, longer_s = (statistics.median(each) for each in spent)
    extra_s = max(longer_s - rtt_s, 8 * PADDING / FASTEST_BIT_S)
    return Link(8 * PADDING / extra_s, rtt_s)
