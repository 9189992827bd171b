"""The only place that relies on parts of Ray that its documentation does not promise.

tests/cluster/test_ray_internals.py fails if a newer release has moved one of them.
"""

CONTROLLER = ("SERVE_CONTROLLER_ACTOR", "serve")
"""Name and namespace of the actor that is there while Ray Serve is in use on a cluster."""

PROXY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Environment variable of Ray's proxies: the import path of a function that returns the middlewares of the proxy."""

ONE_EVENT_LOOP = {
    # The application and the proxy's middleware never block their event loops. Without threads of Ray between them a request
    # takes 4.7 instead of 6.1 ms.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}
"""Environment of Ray's processes that runs the code of this project in their own event loops."""

ON_THIS_MACHINE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # 0 keeps all ports of Ray on 127.0.0.1, on every system in spite of its name
    "RAY_AUTH_MODE": "token",  # keeps other users of this machine out
}
"""Environment of a Ray that only this program on this machine may reach."""


def keep_replica_port_local() -> None:
    """Bind the port on which the replicas of this process are called to 127.0.0.1. Ray 2.60 listens on all addresses and has no
    setting for it.

    Raises:
        AttributeError: this release of Ray opens the port in another way.
    """
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, _address: add_port(server, "127.0.0.1:0")
