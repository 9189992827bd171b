"""The code of this project that Ray Serve runs: a replica of the application, and the middleware of the proxy on each node.

A replica is one process that answers requests. A proxy is the process of a node that listens for HTTP and forwards each request
to one of the replicas.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import device  # noqa: F401 (before ONNX Runtime, because it switches its telemetry off)
from device.bundle.reader import load_bundle
from device.errors import EngineError, UsageError
from host.app.routes import HostSettings, make_app
from host.app.tail import Tail
from host.cluster.dispatcher import ForwardedRequest, ReplicaDied, Reply, Unavailable
from host.cluster.ray_internals import PROXY_CALLBACK, keep_replica_port_local
from host.cluster.replica_proxy import ReplicaProxy, answer_of

APPLICATION, DEPLOYMENT = "host", "tail"  # names within Ray Serve
MAX_CALLS = 64  # calls at one replica; each proxy makes two at a time
MAX_BODY = "SDN_EDGE_MAX_BODY_BYTES"  # environment variable of the proxies, because ``middlewares`` takes no arguments
CALLBACK = {PROXY_CALLBACK: "host.cluster.replica:middlewares"}
NO_REPLICA = "no replica of this host is up: it is starting or stopping; ask again later or ask another"


class Replica:
    """One process with the application of host/app/routes.py. It reads the bundle itself, because sessions of ONNX Runtime cannot
    be sent from one process to another.

    Args:
        bundle: path of the bundle on this node.
        expected: id that the bundle must have. A replica that replaces another must not answer for another network.
        host: settings of the application.
        threads: threads of ONNX Runtime.
        local: whether other machines must not reach any port of this process.

    Raises:
        UsageError: the bundle has another id.
        BundleError, EngineError: the bundle cannot be used.
    """

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, bundle: str, expected: str, host: HostSettings, threads: int, local: bool
    ) -> None:
        if local:
            keep_replica_port_local()
        found = load_bundle(bundle)
        if found.id != expected:
            raise UsageError(
                f"found bundle {found.id} at {bundle}; expected {expected}, which the other replicas serve"
            )
        self._app = make_app(Tail(found, threads), host)
        self._lifespan = self._app.router.lifespan_context(self._app)
        await self._lifespan.__aenter__()

    def check_health(self) -> None:
        """Ray Serve calls this every two seconds, and replaces the replica if it raises.

        Raises:
            EngineError: the engine does not answer any more.
        """
        if not self._app.state.is_ready():
            raise EngineError("the engine of this replica does not answer")

    async def answer(self, requests: Sequence[ForwardedRequest]) -> tuple[str, list[Reply]]:
        """The name of this replica, and its replies. Its batcher joins the frames of all requests that are here."""
        from ray import serve

        replies = await asyncio.gather(*(answer_of(self._app, each) for each in requests))
        return serve.get_replica_context().replica_id.unique_id, replies

    async def __call__(self, _request: Request) -> Response:
        """Answer a request that Ray Serve's own proxy forwarded, because it runs without ``middlewares``."""
        return JSONResponse({"error": f"found no {PROXY_CALLBACK} in the environment of Ray's processes; expected what docs/host/cluster.md says"}, 500)  # fmt: skip

    async def __del__(self) -> None:  # Ray Serve awaits it when it removes a replica
        await self._lifespan.__aexit__(None, None, None)


def middlewares() -> list[Middleware]:
    """The middleware of a proxy. Ray Serve calls this function in each proxy, by its name in CALLBACK."""
    max_body_bytes = int(os.environ.get(MAX_BODY, 64 << 20))
    return [Middleware(ReplicaProxy, call=_RayCaller().call, max_body_bytes=max_body_bytes)]


class _RayCaller:
    """Calls replicas through Ray, which picks a replica that has few calls and avoids dead ones."""

    def __init__(self) -> None:
        self._handle: Any = None

    async def call(self, requests: Sequence[ForwardedRequest]) -> tuple[str, Sequence[Reply]]:
        """See CallReplica in host/cluster/dispatcher.py."""
        from ray import serve
        from ray.exceptions import RayActorError, TaskCancelledError
        from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

        try:
            if self._handle is None:
                self._handle = await asyncio.to_thread(serve.get_deployment_handle, DEPLOYMENT, APPLICATION)
            name, replies = await self._handle.answer.remote(list(requests))
        except (RayActorError, TaskCancelledError) as error:
            raise ReplicaDied(type(error).__name__) from error
        except (BackPressureError, DeploymentUnavailableError, RayServeException) as error:
            raise Unavailable(NO_REPLICA) from error
        return name, replies


def deployment(
    bundle: str, expected: str, host: HostSettings, threads: int, scale: Mapping[str, Any], local: bool
) -> Any:
    """The replicas as a deployment of Ray Serve.

    Args:
        bundle, expected, host, threads, local: see Replica.
        scale: how many replicas there are, as options of a Ray Serve deployment.
    """
    from ray import serve

    return (
        serve.deployment(Replica)
        .options(
            name=DEPLOYMENT,
            ray_actor_options={"num_cpus": threads},
            max_ongoing_requests=MAX_CALLS,
            health_check_period_s=2,
            health_check_timeout_s=10,
            graceful_shutdown_wait_loop_s=0.5,
            graceful_shutdown_timeout_s=10,
            **scale,
        )
        .bind(bundle, expected, host, threads, local)
    )
