"""python -m host serve: the application in one process, by uvicorn."""

import argparse
import asyncio
import contextlib
import errno
import importlib.util
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from device.bundle.reader import load_bundle
from device.errors import UsageError
from host.app.routes import make_app
from host.app.tail import Tail
from host.serving import guard, options
from host.serving.connections import bounded_protocol
from host.serving.limits import ConnectionLimits, fitted
from host.serving.log import Log
from host.serving.metrics import Metrics, metrics_app
from host.serving.tls import Certificates
from host.serving.user import become, found_user, is_root

KEEP_ALIVE_S = 75  # a device's connection is idle while its frames leave early
TICKS = 100  # of a tenth of a second, before certificates are looked at again
WATCHERS = 64  # connections to the metrics' address

EXAMPLES = (
    "defq serve --bundle build/vgg16 --address 0.0.0.0 --token-file keys/tokens.txt",
    "defq serve --bundle build/vgg16 --port 8443 --tls-cert keys/host.pem --tls-key keys/host-key.pem",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)
    add = parser.add_argument
    add("--log", choices=("text", "json"), help="as --log-requests; json: every line on stderr is an object")
    add("--tls-cert", metavar="FILE", help="answer on https://, with this certificate (PEM)")
    add("--tls-key", metavar="FILE", help="its key (default: in the same file)")
    add("--client-ca", metavar="FILE", help="answer only clients with a certificate of this authority (mutual TLS)")
    guard.add_arguments(parser)
    add("--metrics-address", metavar="HOST:PORT", help="show /metrics, /health/live and /health/ready there (default: nowhere)")  # fmt: skip
    add("--user", metavar="NAME", help="go on as this user once addresses and files are open; for a start as root")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C, then finish the requests at hand.

    Raises:
        UsageError: an option out of range, a port in use, a file that cannot be read.
        DataError: a certificate or key that cannot be used.
        BundleError: the bundle cannot be used.
    """
    settings = options.settings_of(arguments)
    log = Log(arguments.log == "json")
    user = found_user(arguments.user) if arguments.user else None
    guarding = guard.guard_of(arguments, log.warn, log.warn_seldom)
    guarding = guarding._replace(limits=fitted(guarding.limits, log.warn))
    certificates = _certificates(arguments, log)
    watched_at = _host_port(arguments.metrics_address) if arguments.metrics_address else None
    bundle = load_bundle(arguments.bundle)
    metrics = Metrics(bundle.id) if watched_at else None
    if metrics and certificates:
        metrics.watch_certificate(lambda: certificates.ends_s)
    listener = _listen(arguments.address, arguments.port, "--port")
    watching = _listen(*watched_at, "--metrics-address") if watched_at else None
    tail = Tail(bundle, arguments.threads)
    _warn(arguments, user, log)
    app = make_app(tail, settings, guarding, log if arguments.log or arguments.log_requests else None, metrics)
    refused = metrics.refused if metrics else None
    server = _Server(app, guarding.protocol(refused, certificates.context if certificates else None))

    def announce() -> None:
        scheme = "https" if certificates else "http"
        print(f"host: serving {bundle.id} on {scheme}://{_name(listener)} (batches of up to {settings.max_batch} within {arguments.max_wait_ms:g} ms)", flush=True)  # fmt: skip
        if watching:
            print(f"host: metrics and health on http://{_name(watching)}", flush=True)

    server.announce = announce
    if certificates:
        server.refresh = certificates.refresh
    if metrics and watching:
        shown = metrics_app(metrics, lambda: app.state.is_ready() and not server.should_exit)
        watchers = min(WATCHERS, guarding.limits.most // 4 + 1)
        server.beside = (
            _Beside(shown, bounded_protocol(ConnectionLimits(watchers, watchers), warn=log.warn_seldom)),
            watching,
        )
    server.import_all()
    if user:
        become(user)
    log.take_over()
    server.run(sockets=[listener])
    return 0


class _Server(uvicorn.Server):
    """Says when it is ready, and ends quietly on Ctrl-C and SIGTERM after the requests at hand.

    Attributes:
        announce: called when requests are taken.
        refresh: called every ten seconds.
        beside: a server that runs as long as this one, and its socket.
    """

    def __init__(self, app: Any, protocol: type[Any]) -> None:
        super().__init__(
            uvicorn.Config(
                app, http=protocol, ws="none", loop=_loop(), lifespan="on", log_config=None, log_level="warning", access_log=False,
                timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=10,
            )
        )  # fmt: skip
        self.announce: Callable[[], None] = lambda: None
        self.refresh: Callable[[], None] = lambda: None
        self.beside: tuple[_Beside, socket.socket] | None = None
        self._beside: asyncio.Task[None] | None = None

    def import_all(self) -> None:
        """Import what uvicorn else imports when it starts: the user that the host becomes may not be allowed to read this
        environment, as in a home folder that is closed to others."""
        for each in (self, self.beside[0]) if self.beside else (self,):
            each.config.load()
            each.config.get_loop_factory()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.beside:
            server, listener = self.beside
            self._beside = asyncio.get_running_loop().create_task(server.serve([listener]))
        await super().startup(sockets)
        if self.started:
            self.announce()

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS == 0:
            self.refresh()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.beside and self._beside:
            self.beside[0].should_exit = True
            await self._beside

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn raises the signal that stopped it once more at the end; it has done its work by then
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        super().run(sockets)


class _Beside(uvicorn.Server):
    """Another server in the same event loop, which leaves signals to the first."""

    def __init__(self, app: Any, protocol: type[Any]) -> None:
        super().__init__(
            uvicorn.Config(
                app, http=protocol, ws="none", lifespan="off", log_config=None, log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
            )
        )  # fmt: skip

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _certificates(arguments: argparse.Namespace, log: Log) -> Certificates | None:
    if not arguments.tls_cert:
        for option, value in (("--tls-key", arguments.tls_key), ("--client-ca", arguments.client_ca)):
            if value:
                raise UsageError(f"found {option} without --tls-cert; expected the host's certificate with it; make one, as in: python -m host keys --out keys --name edge.example --device cam-1")  # fmt: skip
        return None
    return Certificates(arguments.tls_cert, arguments.tls_key or arguments.tls_cert, arguments.client_ca, log.warn)


def _warn(arguments: argparse.Namespace, user: Any, log: Log) -> None:
    """Of what is allowed and yet seldom meant."""
    if not _is_loopback(arguments.address):
        if not arguments.tls_cert and not arguments.token_file:
            log.warn(f"found --address {arguments.address} with neither --tls-cert nor --token-file; whoever reaches it may ask this host and read what is sent; expected that on a network that you trust alone")  # fmt: skip
        elif not arguments.tls_cert:
            log.warn(f"found --address {arguments.address} and --token-file without --tls-cert; tokens cross the network readable; expected that on a network that you trust alone")  # fmt: skip
    if arguments.metrics_address and not _is_loopback(_host_port(arguments.metrics_address)[0]):
        log.warn(f"found --metrics-address {arguments.metrics_address}, which has neither TLS nor tokens; whoever reaches it may read this host's figures; expected that on a network that you trust alone")  # fmt: skip
    if is_root() and not (user and user.pw_uid):
        log.warn("found that this host runs as root; expected a user with fewer rights; start it as one, or add --user NAME")  # fmt: skip


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return address == "localhost"


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise UsageError(f"found --metrics-address {text}; expected HOST:PORT such as 127.0.0.1:9100")
    return host, int(port)


def _listen(address: str, port: int, option: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1024)
    except UnicodeError as error:
        raise UsageError(f"found address {address!r}; expected a host name or an IP address of this machine") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"found port {port} of {address} in use by another program; expected a free one; choose another with {option}, or port 0 for any"
            ) from error
        raise UsageError(
            f"could not listen on {address}:{port} ({error.strerror}); expected an address of this machine and a port that this user may use"
        ) from error
    return listener


def _name(listener: socket.socket) -> str:
    address, port = listener.getsockname()[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"  # IPv6 in a URL


def _loop() -> str:
    return "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"  # there is none for Windows
