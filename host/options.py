"""Options that serve and cluster share."""

import argparse
import math

from device.errors import UsageError
from host.app import HostSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is served, where, and how."""
    add = parser.add_argument
    add("--bundle", required=True, metavar="DIR", help="the device's bundle, folder or .tar.gz")
    add("--address", default="127.0.0.1", help="to listen on (default 127.0.0.1: this machine alone)")
    add("--port", type=int, default=8000, help="0 = any free one (default 8000)")
    add("--max-batch", type=int, default=32, metavar="N", help="frames in one batch (default 32)")
    add("--max-wait-ms", type=float, default=2, metavar="MS", help="latency that batching may add (default 2)")
    add("--max-body-mb", type=int, default=64, metavar="MB", help="largest request (default 64)")
    add("--threads", type=int, default=0, metavar="N", help="of ONNX Runtime (default: all cores)")
    add("--log-requests", action="store_true", help="one line a request on stderr")
    add("--debug", action="store_true", help="print the traceback of an error")


def settings_of(arguments: argparse.Namespace) -> HostSettings:
    """The options as given.

    Raises:
        UsageError: one is out of range.
    """
    if (
        arguments.max_batch < 1
        or not 0 <= arguments.max_wait_ms < math.inf
        or arguments.max_body_mb < 1
        or arguments.threads < 0
        or not 0 <= arguments.port < 65536
    ):
        raise UsageError(
            "found --max-batch, --max-wait-ms, --max-body-mb, --threads or --port out of range; expected at least 1, 0, 1, 0 and a port up to 65535"
        )
    wait_s, body_bytes = arguments.max_wait_ms / 1e3, arguments.max_body_mb << 20
    return HostSettings(arguments.max_batch, wait_s, body_bytes, log_requests=arguments.log_requests)
