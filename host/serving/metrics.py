"""Figures for Prometheus, and a small application that shows them and the host's health at a separate address."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from device import __version__
from device.errors import UsageError
from host.serving.request_log import RequestLog

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
FRAMES = (1, 2, 4, 8, 16, 32, 64, 128)
REASONS = {
    400: "malformed",
    404: "other_model",
    408: "body_timeout",
    413: "too_large",
    415: "encoding",
    503: "overloaded",
}
"""Reason for a refusal of the application, for each status. Refusals of the guard and of connections name their reasons
themselves."""


class Metrics:
    """Counts requests and frames in a registry of its own.

    Raises:
        UsageError: prometheus_client is not installed.
    """

    def __init__(self, bundle_id: str) -> None:
        try:
            import prometheus_client as client
        except ImportError as error:
            raise UsageError(
                "found no prometheus_client in this environment; expected it for --metrics-address; pip install prometheus_client, or leave --metrics-address out"
            ) from error
        self._client = client
        self._registry = (
            client.CollectorRegistry()
        )  # not the registry of the process, to which other code may add figures
        client.ProcessCollector(registry=self._registry)  # memory, processor time, open files

        def made(kind: Callable[..., client.Counter], name: str, text: str, *labels: str) -> client.Counter:
            return kind(f"edge_host_{name}", text, labels, registry=self._registry)

        self._requests = made(client.Counter, "requests", "Requests for answers, by HTTP status; 499: the client went first.", "status")  # fmt: skip
        self._frames = made(client.Counter, "frames", "Frames answered, by the exit where they left.", "exit")
        self._refused = made(
            client.Counter, "refusals", "Requests refused and connections closed, by reason.", "reason"
        )
        self._bytes = made(client.Counter, "received_bytes", "Bodies of requests, as they came.")
        self._seconds = client.Histogram("edge_host_request_seconds", "From the head of a request to its answer.", buckets=SECONDS, registry=self._registry)  # fmt: skip
        self._batches = client.Histogram("edge_host_batch_frames", "Frames in a batch.", buckets=FRAMES, registry=self._registry)  # fmt: skip
        self._children: dict[tuple[object, str | int], client.Counter] = {}
        build = client.Gauge("edge_host_build_info", "1; the bundle served and the version.", ("bundle", "version"), registry=self._registry)  # fmt: skip
        build.labels(bundle_id, __version__).set(1)

    def watch_waiting(self, frames: Callable[[], float]) -> None:
        """Show the number that ``frames`` returns as the number of waiting frames."""
        name, text = "edge_host_frames_waiting", "Frames that wait for their answer, those in the engine among them."
        self._client.Gauge(name, text, registry=self._registry).set_function(frames)

    def watch_certificate(self, ends_s: Callable[[], float]) -> None:
        """Show the time that ``ends_s`` returns, in seconds since 1970, as the end of the host's certificate."""
        name, text = "edge_host_certificate_end_seconds", "When the host's certificate ends, since 1970."
        self._client.Gauge(name, text, registry=self._registry).set_function(ends_s)

    def request(self, entry: RequestLog) -> None:
        """Count a request that has ended."""
        self._count(self._requests, entry.status)
        self._bytes.inc(entry.bytes)
        if entry.exits is not None and entry.status == 200:
            self._seconds.observe(entry.ms / 1e3)
            for exit_ in entry.exits.tolist():
                self._count(self._frames, exit_)
        elif entry.status in REASONS:
            self._count(self._refused, REASONS[entry.status])

    def batch(self, frames: int) -> None:
        """Count a batch that goes to the engine. It may be called in any thread."""
        self._batches.observe(frames)

    def refused(self, _status: int, reason: str) -> None:
        """Count a request or connection that was refused before the application saw it."""
        self._count(self._refused, reason)

    def text(self) -> tuple[bytes, str]:
        """All figures in the text format of Prometheus, and the content type of that format."""
        return self._client.generate_latest(self._registry), self._client.CONTENT_TYPE_LATEST

    def _count(self, counter: object, label: str | int) -> None:
        child = self._children.get((counter, label))  # labels() would take several times as long
        if child is None:
            child = self._children[counter, label] = counter.labels(label)  # type: ignore[attr-defined]
        child.inc()


def metrics_app(metrics: Metrics, is_ready: Callable[[], bool]) -> Starlette:
    """The application with /metrics, /health/live and /health/ready. It asks for no token; whoever reaches it may read it."""

    async def show(_request: Request) -> Response:
        content, kind = metrics.text()
        return Response(content, media_type=kind)

    async def live(_request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_request: Request) -> Response:
        if not is_ready():
            return JSONResponse({"error": "the host is starting or stopping; ask again"}, 503)
        return JSONResponse({"ready": True})

    app = Starlette(routes=[Route("/metrics", show), Route("/health/live", live), Route("/health/ready", ready)])
    app.router.redirect_slashes = False  # a redirect would send clients to whatever host their request names
    return app
