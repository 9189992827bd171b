"""defq cluster: the same application in as many replicas as the traffic needs, by Ray Serve.

Each replica (host/cluster/replica.py) is a process that reads the bundle, builds the application of host/app/routes.py and
batches what it is sent. The proxy of each node (host/cluster/replica_proxy.py) forwards the requests to the replicas. Ray is
imported when this command runs.
"""

import argparse
import logging
import math
import signal
from collections.abc import Mapping
from typing import Any

from device.bundle.reader import load_bundle
from device.errors import EngineError, HostError, UsageError
from device.system.options import decimal
from device.system.stop_flag import StopFlag
from host.app.request_reader import limits_of
from host.app.routes import HostSettings
from host.app.tail import forms_of
from host.cluster.ray_connection import RayOptions, connected, last_line
from host.cluster.replica import APPLICATION, DEPLOYMENT, deployment
from host.cluster.settings import ClusterSettings, parse_replicas
from host.serving import options
from host.serving.addresses import free_port, in_url

KEEP_ALIVE_S = 75  # the connection of a device is idle while its frames leave early
CHECK_S = 1.0  # seconds between two looks at the number of replicas
ONLY_FOR_SERVE = (
    "--tls-cert", "--tls-key", "--client-ca", "--token-file", "--rate", "--burst", "--client-requests", "--max-connections",
    "--client-connections", "--metrics-address", "--user", "--log",
)  # fmt: skip


EXAMPLES = (
    "defq cluster --bundle build/vgg16",
    "defq cluster --bundle build/vgg16 --replicas 2-8 --ray-address auto",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)
    add_options(parser)
    for option in ONLY_FOR_SERVE:
        parser.add_argument(option, help=argparse.SUPPRESS)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``cluster`` that ``serve`` does not have."""
    parser.add_argument(
        "--replicas", default="auto", metavar="N",
        help="a number, least-most such as 2-8, or auto: from 2 to as many as there are CPUs (default)",
    )  # fmt: skip
    parser.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="an existing Ray cluster, or auto (default: start Ray here, on 127.0.0.1)",
    )
    parser.add_argument(
        "--upscale-delay-s",
        type=decimal(0, 86400),
        default=3,
        metavar="S",
        help="of load before a replica is added (default 3)",
    )
    parser.add_argument(
        "--downscale-delay-s",
        type=decimal(0, 86400),
        default=60,
        metavar="S",
        help="of quiet before one is taken away (default 60)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C, then finish the pending requests.

    Raises:
        UsageError: an option is out of range, or a port is in use.
        BundleError: the bundle cannot be used.
        EngineError: Ray is not installed, or no replica could start.
        HostError: the Ray cluster is not there, or was lost.
    """
    for option in ONLY_FOR_SERVE:
        if getattr(arguments, option[2:].replace("-", "_")) is not None:
            raise UsageError(
                f"found {option} with defq cluster; expected it with defq serve alone; put a proxy that does this before the cluster (docs/host/cluster.md)"
            )
    host = options.settings_of(arguments)
    threads = arguments.threads or 1
    replicas = parse_replicas(arguments.replicas, bool(arguments.ray_address), threads)
    settings = ClusterSettings(replicas, threads, arguments.upscale_delay_s, arguments.downscale_delay_s)
    bundle = load_bundle(arguments.bundle)
    bundle.read("tail")  # so that a changed file is reported here, and not in the log of a replica
    port = free_port(arguments.address, arguments.port)
    largest = limits_of(forms_of(bundle).values(), host.max_batch, host.max_body_bytes).message.body_bytes
    ray_options = RayOptions(arguments.ray_address, replicas[1] * threads, largest, arguments.log_requests)
    stop = StopFlag()
    with connected(ray_options, bundle) as (serve, folder):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        quiet = {"log_level": "WARNING", "enable_access_log": False}
        serve.start(
            "EveryNode" if arguments.ray_address else "HeadOnly",
            {"host": arguments.address, "port": port, "keep_alive_timeout_s": KEEP_ALIVE_S, "request_timeout_s": 60},
            logging_config=quiet,
        )
        target = deployment(folder, bundle.id, host, threads, settings.scale(), local=not arguments.ray_address)
        try:
            serve.run(target, name=APPLICATION, logging_config=quiet)
        except RuntimeError as error:
            raise EngineError(
                f"no replica could start ({last_line(error)}); expected the packages of host/cluster/requirements.txt on every node"
            ) from error
        _report_replicas(serve, f"{bundle.id} on http://{in_url(arguments.address, port)}", stop)
        serve.shutdown()
    return 0


def application(arguments: Mapping[str, Any]) -> Any:
    """The Ray Serve application for a config file: ``import_path: host.cluster.command:application`` (see
    host/cluster/kuberay.yaml).

    Args:
        arguments: ``bundle`` is a path on every node. ``replicas``, ``threads``, ``max_batch`` and ``max_wait_ms`` are as the
            options of the command.

    Raises:
        UsageError: an argument is unknown, or has a value that cannot be used.
        BundleError: the bundle cannot be used.
    """
    known = {"bundle": "", "replicas": "auto", "threads": 1, "max_batch": 32, "max_wait_ms": 2}
    if not {"bundle"} <= set(arguments) <= set(known):
        raise UsageError(
            f"found arguments {sorted(arguments)}; expected bundle and, if wanted, {', '.join(list(known)[1:])}"
        )
    given = {**known, **arguments}
    try:
        threads, batch, wait_s = int(given["threads"]), int(given["max_batch"]), float(given["max_wait_ms"]) / 1e3
    except (TypeError, ValueError):
        threads = batch = wait_s = 0
    if threads < 1 or batch < 1 or not 0 <= wait_s < math.inf:
        raise UsageError(
            f"found threads {given['threads']}, max_batch {given['max_batch']} and max_wait_ms {given['max_wait_ms']}; expected numbers of at least 1, 1 and 0"
        )
    bundle = load_bundle(given["bundle"])
    settings = ClusterSettings(parse_replicas(str(given["replicas"]), True, threads), threads)
    return deployment(given["bundle"], bundle.id, HostSettings(batch, wait_s), threads, settings.scale(), local=False)


def _report_replicas(serve: Any, what: str, stop: StopFlag) -> None:
    """Print a line when the first replicas are ready, and one whenever their number changes, until ``stop`` is set."""
    shown = -1
    while True:
        try:
            states = serve.status().applications[APPLICATION].deployments[DEPLOYMENT].replica_states
        except Exception as error:  # Ray's exceptions here have no common base class below Exception
            if stop.is_set():
                return
            raise HostError(f"lost the Ray cluster ({last_line(error)}); start it, and this, again") from error
        running = int(states.get("RUNNING", 0))
        if shown < 0:
            print(f"host: serving {what} ({running} replicas)", flush=True)
        elif running != shown:
            print(f"host: {running} replicas", flush=True)
        shown = running
        if stop.wait(CHECK_S):
            return
