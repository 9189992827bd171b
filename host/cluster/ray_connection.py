"""Starts Ray on this machine, or connects to a Ray cluster that runs already."""

import contextlib
import importlib.util
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.bundle.reader import Bundle
from device.errors import EngineError, HostError, UsageError
from host.cluster.ray_internals import CONTROLLER, ON_THIS_MACHINE, ONE_EVENT_LOOP
from host.cluster.replica import CALLBACK, MAX_BODY

ROOT = Path(__file__).resolve().parents[2]  # folder of this project's packages
FOR_RAY = {"RAY_USAGE_STATS_ENABLED": "0", **ONE_EVENT_LOOP}  # must be set before Ray is imported
REACH_S = 5  # seconds after which a cluster counts as unreachable


@dataclass(frozen=True, slots=True)
class RayOptions:
    """What Ray is started or reached with.

    Attributes:
        address: HOST:PORT of an existing cluster, or ``auto``; None starts Ray on this machine.
        cpus: CPUs that all replicas together need.
        max_body_bytes: largest body of a request.
        log_requests: whether the lines of the replicas are shown.
    """

    address: str | None
    cpus: int
    max_body_bytes: int
    log_requests: bool


@contextlib.contextmanager
def connected(options: RayOptions, bundle: Bundle) -> Iterator[tuple[Any, str]]:
    """Yield Ray's ``serve`` module, and the path at which replicas find the bundle, while Ray runs or is connected.

    Raises:
        EngineError: Ray is not installed.
        UsageError: the address is none, or Ray Serve is in use on the cluster.
        HostError: the cluster cannot be reached, or Ray does not start.
    """
    if importlib.util.find_spec("ray") is None:
        raise EngineError(
            "found no Ray in this environment; expected it for defq cluster; pip install -r host/cluster/requirements.txt, or use defq serve, which needs none"
        )
    environment = {**FOR_RAY, **CALLBACK, MAX_BODY: str(options.max_body_bytes)}
    os.environ.update(FOR_RAY)
    common: dict[str, Any] = {"log_to_driver": options.log_requests, "logging_level": logging.ERROR}
    folder = str(Path(bundle.path).resolve())
    with contextlib.ExitStack() as stack:
        if options.address:
            check_reachable(options.address)
            folder = stack.enter_context(_folder_of(bundle))
            # Ray keeps these files and gives them to every node, also to one that joins when this program has ended.
            modules = [str(ROOT / name) for name in ("device", "host")]
            runtime = {"working_dir": folder, "py_modules": modules, "env_vars": environment}
            folder = "."
            common.update(address=options.address, runtime_env=runtime)
        else:
            paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            os.environ.update(
                ON_THIS_MACHINE, **environment, PYTHONPATH=os.pathsep.join(paths), RAY_AUTH_TOKEN=secrets.token_hex(32)
            )
            # The user may want more replicas than there are CPUs. Ray counts CPUs but does not bind processes to them.
            cpus = max(os.cpu_count() or 1, options.cpus)
            common.update(address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=256 << 20)
        import ray
        from ray import serve

        try:
            ray.init(**common)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise HostError(
                f"could not reach or start Ray at {options.address or '127.0.0.1'} ({last_line(error)}); expected a running cluster of Ray {ray.__version__} for --ray-address, or none of it to start one here"
            ) from error
        stack.callback(ray.shutdown)
        name, namespace = CONTROLLER
        with contextlib.suppress(ValueError):  # Ray raises it if there is no such actor
            ray.get_actor(name, namespace=namespace)
            raise UsageError(
                f"found Ray Serve in use on the cluster at {options.address}; expected none, for its address, its proxies and its end are this command's; "
                "end it with: serve shutdown, or add the host to its config file (docs/host/cluster.md)"
            )
        yield serve, folder


def check_reachable(ray_address: str) -> None:
    """Connect to the head node for a moment, because Ray itself tries for minutes before it gives up.

    Raises:
        UsageError: the address has another form.
        HostError: nothing listens there.
    """
    if ray_address == "auto":
        return  # Ray looks for a cluster on this machine
    host, _, port = ray_address.rpartition(":")
    if not host or "/" in host or not (port.isascii() and port.isdigit()):
        raise UsageError(
            f"found --ray-address {ray_address}; expected HOST:PORT of the head node, as ray start says it, or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise HostError(
            f"found no Ray cluster at {ray_address} ({error}); expected one to be started with: ray start --head"
        ) from error


def last_line(error: BaseException) -> str:
    """The last line of an error's text; Ray puts whole tracebacks before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


@contextlib.contextmanager
def _folder_of(bundle: Bundle) -> Iterator[str]:
    """A folder with the files of the bundle and nothing else, which is sent to the cluster."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ["manifest.json", *bundle.manifest["files"]]:
            if bundle.files:
                Path(folder, name).write_bytes(bundle.files[name])
            else:
                shutil.copyfile(Path(bundle.path, name), Path(folder, name))
        yield folder
