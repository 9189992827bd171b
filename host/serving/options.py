"""Options that the commands serve and cluster share."""

import argparse

from device.system.options import decimal, whole
from host.app.routes import HostSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is served, at which address, and how."""
    add = parser.add_argument
    add("--bundle", required=True, metavar="DIR", help="the device's bundle, folder or .tar.gz")
    add(
        "--address",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on (default 127.0.0.1: this machine alone)",
    )
    add(
        "--port",
        type=whole(0, 65535),
        default=8000,
        metavar="PORT",
        help="port to listen on; 0 for any free one (default 8000)",
    )
    add("--max-batch", type=whole(1, 1 << 16), default=32, metavar="N", help="frames in one batch (default 32)")
    add(
        "--max-wait-ms",
        type=decimal(0, 3_600_000),
        default=2,
        metavar="MS",
        help="latency that batching may add (default 2)",
    )
    add(
        "--max-body-mb",
        type=whole(1, 1 << 20),
        default=64,
        metavar="MB",
        help="largest request (default 64; the host takes none larger than the model needs)",
    )
    add(
        "--threads",
        type=whole(0, 1024),
        default=0,
        metavar="N",
        help="threads of ONNX Runtime (default: as many as there are cores)",
    )
    add("--log-requests", action="store_true", help="write one line for each request on stderr")
    add("--debug", action="store_true", help="print the traceback of an error")


def settings_of(arguments: argparse.Namespace) -> HostSettings:
    """The settings that the options ask for."""
    wait_s, body_bytes = arguments.max_wait_ms / 1e3, arguments.max_body_mb << 20
    return HostSettings(arguments.max_batch, wait_s, body_bytes, log_requests=arguments.log_requests)
