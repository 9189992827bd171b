"""defq serve: the application in one process, served by uvicorn."""

import argparse
import dataclasses
from collections.abc import Callable

from device.bundle.reader import load_bundle
from device.errors import UsageError
from host.app.routes import make_app
from host.app.tail import Tail
from host.serving import guard_options, options
from host.serving.addresses import in_url, is_loopback, listen, parse_host_port
from host.serving.connections import bounded_protocol
from host.serving.limits import ConnectionLimits, fitted
from host.serving.log import Log
from host.serving.metrics import Metrics, metrics_app
from host.serving.tls import Certificates
from host.serving.user import become, found_user, is_root
from host.serving.uvicorn_server import HostServer, SideServer

METRICS_CONNECTIONS = 64  # connections to the address of the metrics that may be open at the same time

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
    guard_options.add_arguments(parser)
    add("--metrics-address", metavar="HOST:PORT", help="show /metrics, /health/live and /health/ready there (default: nowhere)")  # fmt: skip
    add("--user", metavar="NAME", help="go on as this user once addresses and files are open; for a start as root")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C, then finish the pending requests.

    Raises:
        UsageError: an option is out of range, a port is in use, or a file cannot be read.
        DataError: a certificate or key cannot be used.
        BundleError: the bundle cannot be used.
    """
    settings = options.settings_of(arguments)
    log = Log(arguments.log == "json")
    user = found_user(arguments.user) if arguments.user else None
    guard = guard_options.guard_options_of(arguments, log.warn, log.warn_seldom)
    guard = dataclasses.replace(guard, connection_limits=fitted(guard.connection_limits, log.warn))
    certificates = _certificates(arguments, log)
    metrics_at = _metrics_address(arguments)
    bundle = load_bundle(arguments.bundle)
    metrics = Metrics(bundle.id) if metrics_at else None
    if metrics and certificates:
        metrics.watch_certificate(lambda: certificates.ends_s)
    listener = listen(arguments.address, arguments.port, "--port")
    metrics_listener = listen(*metrics_at, "--metrics-address") if metrics_at else None
    tail = Tail(bundle, arguments.threads)
    warn_of_risks(arguments, is_root() and not (user and user.pw_uid), log.warn)
    app = make_app(tail, settings, guard, log if arguments.log or arguments.log_requests else None, metrics)
    refused = metrics.refused if metrics else None
    server = HostServer(app, guard.protocol(refused, certificates.context if certificates else None))

    def announce() -> None:
        scheme = "https" if certificates else "http"
        print(f"host: serving {bundle.id} on {scheme}://{in_url(*listener.getsockname()[:2])} (batches of up to {settings.max_batch} within {arguments.max_wait_ms:g} ms)", flush=True)  # fmt: skip
        if metrics_listener:
            print(f"host: metrics and health on http://{in_url(*metrics_listener.getsockname()[:2])}", flush=True)

    server.announce = announce
    if certificates:
        server.refresh = certificates.refresh
    if metrics and metrics_listener:
        page = metrics_app(metrics, lambda: app.state.is_ready() and not server.should_exit)
        most = min(METRICS_CONNECTIONS, guard.connection_limits.most // 4 + 1)
        protocol = bounded_protocol(ConnectionLimits(most, most), warn=log.warn_seldom)
        server.side_server = (SideServer(page, protocol), metrics_listener)
    server.import_all()
    if user:
        become(user)
    log.take_over()
    server.run(sockets=[listener])
    return 0


def warn_of_risks(arguments: argparse.Namespace, stays_root: bool, warn: Callable[[str], None]) -> None:
    """Warn of options that are allowed but seldom meant: addresses that other machines reach without protection, and a host
    that answers as root."""
    if not is_loopback(arguments.address):
        if not arguments.tls_cert and not arguments.token_file:
            warn(f"found --address {arguments.address} with neither --tls-cert nor --token-file; whoever reaches it may ask this host and read what is sent; expected that on a network that you trust alone")  # fmt: skip
        elif not arguments.tls_cert:
            warn(f"found --address {arguments.address} and --token-file without --tls-cert; tokens cross the network readable; expected that on a network that you trust alone")  # fmt: skip
    metrics_at = _metrics_address(arguments)
    if metrics_at and not is_loopback(metrics_at[0]):
        warn(f"found --metrics-address {arguments.metrics_address}, which has neither TLS nor tokens; whoever reaches it may read this host's figures; expected that on a network that you trust alone")  # fmt: skip
    if stays_root:
        warn("found that this host runs as root; expected a user with fewer rights; start it as one, or add --user NAME")  # fmt: skip


def _metrics_address(arguments: argparse.Namespace) -> tuple[str, int] | None:
    text = arguments.metrics_address
    return parse_host_port(text, "--metrics-address") if text else None


def _certificates(arguments: argparse.Namespace, log: Log) -> Certificates | None:
    if not arguments.tls_cert:
        for option, value in (("--tls-key", arguments.tls_key), ("--client-ca", arguments.client_ca)):
            if value:
                raise UsageError(f"found {option} without --tls-cert; expected the host's certificate with it; make one, as in: defq keys --out keys --name edge.example --device cam-1")  # fmt: skip
        return None
    return Certificates(arguments.tls_cert, arguments.tls_key or arguments.tls_cert, arguments.client_ca, log.warn)
