"""python -m host cluster: the same application in as many replicas as the traffic needs, by Ray Serve.

Each replica (host/cluster/replica.py) is a process that reads the bundle, builds the application of host/app/routes.py and batches what
it is sent. A carrier in the proxy of each node (host/cluster/replica_proxy.py) spreads the requests. Ray is imported when this runs.
"""

import argparse
import contextlib
import importlib.util
import logging
import math
import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from device.bundle.reader import Bundle, load_bundle
from device.errors import EngineError, HostError, UsageError
from device.system.options import decimal
from host.app.request_reader import limits_of
from host.app.routes import HostSettings
from host.app.tail import forms_of
from host.cluster.replica import APPLICATION, CALLBACK, DEPLOYMENT, MAX_BODY, deployment
from host.serving import options

ROOT = Path(__file__).resolve().parents[2]
KEEP_ALIVE_S = 75  # a device's connection is idle while its frames leave early
MOST_ON_CLUSTER = 32  # replicas with --replicas auto; the cluster itself may grow with them
CALLS_WANTED = 1.2  # at a replica, running or waiting, before another is worth while
LOOK_EVERY_S = 1.0
ON_THIS_MACHINE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # despite its name: 0 keeps all of Ray's ports on 127.0.0.1
    "RAY_AUTH_MODE": "token",  # and other users of this machine out
}
OF_SERVE = (
    "--tls-cert", "--tls-key", "--client-ca", "--token-file", "--rate", "--burst", "--client-requests", "--max-connections",
    "--client-connections", "--metrics-address", "--user", "--log",
)  # fmt: skip
FOR_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # read when Ray is imported
    # the application and the carrier never block their event loops: without threads between, 4.7 instead of 6.1 ms
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}


class ClusterSettings(NamedTuple):
    """replicas: least and most. threads: of ONNX Runtime, and CPUs of a replica. upscale_s, downscale_s: how long more or
    fewer must have been needed."""

    replicas: tuple[int, int]
    threads: int = 1
    upscale_s: float = 3.0
    downscale_s: float = 60.0


EXAMPLES = (
    "defq cluster --bundle build/vgg16",
    "defq cluster --bundle build/vgg16 --replicas 2-8 --ray-address auto",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)
    add_options(parser)
    for option in OF_SERVE:
        parser.add_argument(option, help=argparse.SUPPRESS)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``cluster`` beside those that it shares with ``serve``."""
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
    """Serve until SIGTERM or Ctrl-C, then finish the requests at hand.

    Raises:
        UsageError: an option out of range, or a port in use.
        BundleError: the bundle cannot be used.
        EngineError: Ray is not installed, or no replica could start.
        HostError: there is no such Ray cluster, or it went away.
    """
    for option in OF_SERVE:
        if getattr(arguments, option[2:].replace("-", "_")) is not None:
            raise UsageError(
                f"found {option} with host cluster; expected it with host serve alone; put a proxy that does this before the cluster (docs/cluster.md)"
            )
    host = options.settings_of(arguments)
    delays = (arguments.upscale_delay_s, arguments.downscale_delay_s)
    threads = arguments.threads or 1
    settings = ClusterSettings(_replicas(arguments.replicas, arguments.ray_address, threads), threads, *delays)
    bundle = load_bundle(arguments.bundle)
    bundle.read("tail")  # a changed file is told here, and not in the log of a replica
    port = _free_port(arguments.address, arguments.port)
    stop = threading.Event()
    with _ray(arguments, settings, bundle) as (serve, folder):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        quiet = {"log_level": "WARNING", "enable_access_log": False}
        serve.start(
            "EveryNode" if arguments.ray_address else "HeadOnly",
            {"host": arguments.address, "port": port, "keep_alive_timeout_s": KEEP_ALIVE_S, "request_timeout_s": 60},
            logging_config=quiet,
        )
        target = deployment(folder, bundle.id, host, threads, _scale(settings), local=not arguments.ray_address)
        try:
            serve.run(target, name=APPLICATION, logging_config=quiet)
        except RuntimeError as error:
            raise EngineError(
                f"no replica could start ({_last_line(error)}); expected the packages of host/cluster/requirements.txt on every node"
            ) from error
        _watch(
            serve,
            f"{bundle.id} on http://{f'[{arguments.address}]' if ':' in arguments.address else arguments.address}:{port}",
            stop,
        )
        serve.shutdown()
    return 0


def application(arguments: Mapping[str, Any]) -> Any:
    """The Serve application for a config file: ``import_path: host.cluster:application`` (host/cluster/kuberay.yaml).

    Args:
        arguments: ``bundle`` is a path on every node; ``replicas``, ``threads``, ``max_batch`` and ``max_wait_ms`` are as
            the options of the command.

    Raises:
        UsageError: another argument, or a value that cannot be used.
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
    settings = ClusterSettings(_replicas(str(given["replicas"]), "the config's", threads), threads)
    return deployment(given["bundle"], bundle.id, HostSettings(batch, wait_s), threads, _scale(settings), local=False)


def _scale(settings: ClusterSettings) -> dict[str, Any]:
    least, most = settings.replicas
    if most == least:
        return {"num_replicas": least}
    # A carrier keeps up to two calls at a replica: one that runs and one that waits. So 1.2 are more than it can do,
    # and well below one it is idle part of the time.
    return {
        "autoscaling_config": {
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": CALLS_WANTED,
            "upscale_delay_s": settings.upscale_s,
            "downscale_delay_s": settings.downscale_s,
            "look_back_period_s": 11.0,  # Ray wants more than its 10 s between two reports
        }
    }


@contextlib.contextmanager
def _ray(arguments: argparse.Namespace, settings: ClusterSettings, bundle: Bundle) -> Iterator[tuple[Any, str]]:
    """Ray's serve module while Ray runs or is connected to, and where a replica finds the bundle."""
    if importlib.util.find_spec("ray") is None:
        raise EngineError(
            "found no Ray in this environment; expected it for host cluster; pip install -r host/cluster/requirements.txt, or use host serve, which needs none"
        )
    host = options.settings_of(arguments)
    largest = limits_of(forms_of(bundle).values(), host.max_batch, host.max_body_bytes).message.body_bytes
    proxies = {**FOR_RAY, **CALLBACK, MAX_BODY: str(largest)}
    os.environ.update(FOR_RAY)
    common = {"log_to_driver": arguments.log_requests, "logging_level": logging.ERROR}
    folder = str(Path(bundle.path).resolve())
    with contextlib.ExitStack() as stack:
        if arguments.ray_address:
            _reach(arguments.ray_address)
            folder = stack.enter_context(_unpacked(bundle))
            # Ray keeps these and gives them to every node, also to one that joins when this program has gone
            modules = [str(ROOT / name) for name in ("device", "host")]
            environment = {"working_dir": folder, "py_modules": modules, "env_vars": proxies}
            folder = "."
            common.update(address=arguments.ray_address, runtime_env=environment)
        else:
            paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            os.environ.update(
                ON_THIS_MACHINE, **proxies, PYTHONPATH=os.pathsep.join(paths), RAY_AUTH_TOKEN=secrets.token_hex(32)
            )
            # more replicas than CPUs are the user's wish: Ray counts CPUs, it does not bind to them
            cpus = max(os.cpu_count() or 1, settings.replicas[1] * settings.threads)
            common.update(address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=256 << 20)
        import ray
        from ray import serve

        try:
            ray.init(**common)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise HostError(
                f"could not reach or start Ray at {arguments.ray_address or '127.0.0.1'} ({_last_line(error)}); expected a running cluster of Ray {ray.__version__} for --ray-address, or none of it to start one here"
            ) from error
        stack.callback(ray.shutdown)
        with contextlib.suppress(ValueError):
            ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
            raise UsageError(
                f"found Ray Serve in use on the cluster at {arguments.ray_address}; expected none, for its address, its proxies and its end are this command's; "
                "end it with: serve shutdown, or add the host to its config file (docs/cluster.md)"
            )
        yield serve, folder


@contextlib.contextmanager
def _unpacked(bundle: Bundle) -> Iterator[str]:
    """A folder with the bundle's files and nothing else, to be sent to the cluster."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ["manifest.json", *bundle.manifest["files"]]:
            if bundle.files:
                Path(folder, name).write_bytes(bundle.files[name])
            else:
                shutil.copyfile(Path(bundle.path, name), Path(folder, name))
        yield folder


def _watch(serve: Any, what: str, stop: threading.Event) -> None:
    """Until ``stop``: say when it is ready, and when the number of replicas changes."""
    shown = -1
    while True:
        try:
            states = serve.status().applications[APPLICATION].deployments[DEPLOYMENT].replica_states
        except Exception as error:  # Ray's exceptions here have no common base below Exception
            if stop.is_set():
                return
            raise HostError(f"lost the Ray cluster ({_last_line(error)}); start it, and this, again") from error
        running = int(states.get("RUNNING", 0))
        if shown < 0:
            print(f"host: serving {what} ({running} replicas)", flush=True)
        elif running != shown:
            print(f"host: {running} replicas", flush=True)
        shown = running
        if stop.wait(LOOK_EVERY_S):
            return


def _reach(ray_address: str) -> None:
    """Knock first: Ray itself tries for minutes."""
    if ray_address == "auto":
        return  # of a cluster on this machine
    host, _, port = ray_address.rpartition(":")
    if not host or "/" in host or not (port.isascii() and port.isdigit()):
        raise UsageError(
            f"found --ray-address {ray_address}; expected HOST:PORT of the head node, as ray start says it, or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), 5).close()
    except (OSError, OverflowError) as error:
        raise HostError(
            f"found no Ray cluster at {ray_address} ({error}); expected one to be started with: ray start --head"
        ) from error


def _replicas(text: str, ray_address: str | None, threads: int) -> tuple[int, int]:
    """Least and most."""
    if text == "auto":
        most = MOST_ON_CLUSTER if ray_address else max(1, (os.cpu_count() or 1) // threads)
        return min(2, most), most  # two, so that frames go on while one is replaced
    found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", text, re.ASCII)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise UsageError(f"found --replicas {text}; expected a number from 1, least-most such as 2-8, or auto")
    return least, most


def _free_port(address: str, port: int) -> int:
    """The port, or any free one for 0; Ray Serve would share a port in use with whoever has it."""
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            return int(probe.getsockname()[1])
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"could not listen on {address}:{port} ({getattr(error, 'strerror', None) or error}); expected an address of this machine and a free port; choose another with --port, or --port 0 for any"
        ) from error


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
