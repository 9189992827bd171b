"""Private places of Ray that host/cluster/ray_internals.py uses. These tests fail when a newer release has moved one of them."""

import inspect

from host.cluster import ray_internals
from host.cluster.replica import CALLBACK, middlewares
from host.cluster.replica_proxy import RAY_SERVE_PATHS


def test_the_actor_that_shows_that_ray_serve_is_in_use():
    from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

    assert (SERVE_CONTROLLER_NAME, SERVE_NAMESPACE) == ray_internals.CONTROLLER


def test_the_environment_variables_of_ray_serve():
    from ray.serve._private import constants

    source = inspect.getsource(constants)
    for name in (ray_internals.PROXY_CALLBACK, *ray_internals.ONE_EVENT_LOOP):
        assert f'"{name}"' in source, f"Ray Serve does not read {name} any more"


def test_the_proxy_runs_the_callback_that_the_environment_names():
    from ray._common.utils import import_attr

    assert import_attr(CALLBACK[ray_internals.PROXY_CALLBACK]) is middlewares
    assert len(middlewares()) == 1


def test_the_environment_that_keeps_ray_on_this_machine():
    from ray._private import ray_constants, services

    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" in inspect.getsource(ray_constants) + inspect.getsource(services)


def test_the_port_of_a_replica_can_be_kept_local(monkeypatch):
    from ray.serve._private import replica

    asked = []
    monkeypatch.setattr(replica, "add_port_to_grpc_server", lambda server, address: asked.append((server, address)))
    ray_internals.keep_replica_port_local()
    replica.add_port_to_grpc_server("server", "0.0.0.0:0")
    assert asked == [("server", "127.0.0.1:0")]
    assert "add_port_to_grpc_server(" in inspect.getsource(replica), (
        "replicas of Ray Serve open their port in another way"
    )


def test_the_paths_that_ray_serve_answers_itself():
    from ray.serve._private import proxy

    assert RAY_SERVE_PATHS in inspect.getsource(proxy)
