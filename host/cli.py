"""python -m host: serve."""

import argparse
import errno
import importlib.util
import math
import signal
import socket
from collections.abc import Callable

import uvicorn

from device.bundle import load_bundle
from device.errors import UsageError, run_command
from host.app import HostSettings, make_app
from host.tail import Tail

KEEP_ALIVE_S = 75  # a device's connection is idle while its frames leave early


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m host", description="The host of early-exit devices.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="Answer frames that did not exit on a device.")
    serve.add_argument("--bundle", required=True, metavar="DIR", help="the device's bundle, folder or .tar.gz")
    serve.add_argument("--address", default="127.0.0.1", help="to listen on (default 127.0.0.1: this machine alone)")
    serve.add_argument("--port", type=int, default=8000, help="0 = any free one (default 8000)")
    serve.add_argument("--max-batch", type=int, default=32, metavar="N", help="frames in one batch (default 32)")
    serve.add_argument(
        "--max-wait-ms", type=float, default=2, metavar="MS", help="latency that batching may add (default 2)"
    )
    serve.add_argument("--max-body-mb", type=int, default=64, metavar="MB", help="largest request (default 64)")
    serve.add_argument("--threads", type=int, default=0, metavar="N", help="of ONNX Runtime (default: all cores)")
    serve.add_argument("--log-requests", action="store_true", help="one line a request on stderr")
    serve.add_argument("--debug", action="store_true", help="print the traceback of an error")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _serve(arguments), arguments.debug)


def _serve(arguments: argparse.Namespace) -> int:
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
    tail = Tail(load_bundle(arguments.bundle), arguments.threads)
    settings = HostSettings(
        arguments.max_batch,
        arguments.max_wait_ms / 1e3,
        arguments.max_body_mb << 20,
        log_requests=arguments.log_requests,
    )
    listener = _listen(arguments.address, arguments.port)
    address, port = listener.getsockname()[:2]
    if ":" in address:
        address = f"[{address}]"  # IPv6 in a URL

    def announce() -> None:
        print(
            f"host: serving {tail.bundle.id} on http://{address}:{port} (batches of up to {settings.max_batch} within {arguments.max_wait_ms:g} ms)",
            flush=True,
        )

    config = uvicorn.Config(
        make_app(tail, settings), http="httptools", loop=_loop(), lifespan="on", log_level="warning", access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=10,
    )  # fmt: skip
    _Server(config, announce).run(sockets=[listener])
    return 0


class _Server(uvicorn.Server):
    """Says when it is ready, and ends quietly on Ctrl-C and SIGTERM after the requests at hand."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn raises the signal that stopped it once more at the end; it has done its work by then
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        super().run(sockets)


def _listen(address: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1024)
    except UnicodeError as error:
        raise UsageError(
            f"found --address {address!r}; expected a host name or an IP address of this machine"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"found port {port} of {address} in use by another program; expected a free one; choose another with --port, or --port 0 for any"
            ) from error
        raise UsageError(
            f"could not listen on {address}:{port} ({error.strerror}); expected an address of this machine and a port that this user may use"
        ) from error
    return listener


def _loop() -> str:
    return "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"  # there is none for Windows
