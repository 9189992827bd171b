"""What runs in the processes of Ray Serve: a replica with the application, and in the proxies what leads to it."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import device  # noqa: F401 (before ONNX Runtime: it switches telemetry off)
from device.bundle.reader import load_bundle
from device.errors import EngineError, UsageError
from host.app.routes import HostSettings, make_app
from host.app.tail import Tail
from host.cluster.replica_proxy import Carried, Front, ReplicaDied, Reply, Unavailable, replied

APPLICATION, DEPLOYMENT = "host", "tail"
MAX_CALLS = 64  # at a replica; a carrier sends two at a time, and there is one in each proxy
MAX_BODY = "SDN_EDGE_MAX_BODY_BYTES"  # environment of the proxies, which take no arguments
CALLBACK = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "host.cluster.replica:middlewares"}
NO_REPLICA = "no replica of this host is up: it is starting or stopping; ask again later or ask another"


class Replica:
    """One process with the application of host/app/routes.py, which reads the bundle itself: ONNX Runtime's sessions cannot be
    sent from one process to another.

    Args:
        bundle: where the bundle is, on this node.
        expected: the bundle's id; a replica that replaces another must not answer for another network.
        threads: of ONNX Runtime.
        local: no port of this process may be reached from other machines.
    """

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, bundle: str, expected: str, host: HostSettings, threads: int, local: bool
    ) -> None:
        if local:
            _stay_local()
        found = load_bundle(bundle)
        if found.id != expected:
            raise UsageError(
                f"found bundle {found.id} at {bundle}; expected {expected}, which the other replicas serve"
            )
        self._app = make_app(Tail(found, threads), host)
        self._lifespan = self._app.router.lifespan_context(self._app)
        await self._lifespan.__aenter__()

    def check_health(self) -> None:
        """Ray Serve calls this now and then, and replaces a replica whose engine does not answer any more."""
        if not self._app.state.is_ready():
            raise EngineError("the engine of this replica does not answer")

    async def answer(self, requests: Sequence[Carried]) -> tuple[str, list[Reply]]:
        """The name of this replica, and its replies; its batcher joins the frames of all that are here."""
        from ray import serve

        replies = await asyncio.gather(*(replied(self._app, each) for each in requests))
        return serve.get_replica_context().replica_id.unique_id, replies

    async def __call__(self, _request: Request) -> Response:
        """For a request that came past host/cluster/replica_proxy.py."""
        return JSONResponse({"error": f"found no {next(iter(CALLBACK))} in the environment of Ray's processes; expected what docs/cluster.md says"}, 500)  # fmt: skip

    async def __del__(self) -> None:  # Ray Serve awaits this when it takes a replica away
        await self._lifespan.__aexit__(None, None, None)


def middlewares() -> list[Middleware]:
    """Ray Serve calls this in each of its proxies, by the name in CALLBACK."""
    return [Middleware(Front, ask=_Asker().ask, max_body_bytes=int(os.environ.get(MAX_BODY, 64 << 20)))]


class _Asker:
    """Calls a replica through Ray. The router behind the handle picks one with few calls, and forgets dead ones."""

    def __init__(self) -> None:
        self._handle: Any = None

    async def ask(self, requests: Sequence[Carried]) -> tuple[str, Sequence[Reply]]:
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
    """The application as Ray Serve takes it. scale: how many replicas, as options of a deployment."""
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


def _stay_local() -> None:
    """Bind the port on which replicas call each other to 127.0.0.1; Ray 2.60 has no setting for it."""
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, _: add_port(server, "127.0.0.1:0")
