"""The routes of the Open Inference Protocol v2, as a Starlette application."""

import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from device import __version__
from device.errors import WireError
from device.protocol.messages import HEADER_LENGTH, encode_response
from device.system.json_text import shown
from host.app.batching import BatchedAnswers, Batcher, EngineStuck, Overloaded
from host.app.encoding import encoded
from host.app.metadata import VERSION, model_metadata
from host.app.request_reader import RequestReader, limits_of
from host.app.tail import Answers, Inputs, Tail
from host.serving.clients import client_of
from host.serving.guard import charge
from host.serving.guard_options import GuardOptions
from host.serving.log import Log
from host.serving.metrics import Metrics
from host.serving.request_log import CLIENT_GONE, REQUEST_LOG, RequestLog, RequestLogMiddleware

ENGINE = logging.getLogger("uvicorn.error")  # host/serving/log.py writes the lines of this logger
MAX_WAITING = 2048  # frames that may wait, of which one client may have half; beyond it the answer is 503


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Settings of the application.

    Attributes:
        max_batch: frames in one batch.
        max_wait_s: seconds of latency that batching may add.
        max_body_bytes: largest body of a request; a model that needs less lowers it.
        body_timeout_s: seconds in which the body of a request must arrive.
        engine_timeout_s: seconds that the engine may take for a batch.
        log_requests: whether each request leaves a line on stderr.
    """

    max_batch: int = 32
    max_wait_s: float = 0.002
    max_body_bytes: int = 64 << 20
    body_timeout_s: float = 10.0
    engine_timeout_s: float = 10.0
    log_requests: bool = False


def make_app(
    tail: Tail,
    settings: HostSettings = HostSettings(),
    guard: GuardOptions | None = None,
    log: Log | None = None,
    metrics: Metrics | None = None,
) -> Starlette:
    """The application that serves ``tail`` under the id of its bundle.

    Every error is JSON ``{"error": sentence}``: 400 malformed message, 404 another model, 408 the body did not arrive in time,
    413 too large, 415 unknown Content-Encoding, 500 the engine failed, 503 the host is not ready, too many frames wait, or the
    engine does not answer; in addition, those of host/serving/guard.py.

    Args:
        guard: who may ask, and how much; None = everybody may ask without limit.
        log: gets a line for each request; None = a new log if ``settings.log_requests`` is set.
        metrics: counts requests; None = nothing is counted.

    Attributes:
        state.is_ready: function that returns whether requests are taken and the engine answers.
    """
    if log is None and settings.log_requests:
        log = Log()
    routes = _Routes(tail, settings, metrics)
    receivers: list[Callable[[RequestLog], None]] = [each.request for each in (log, metrics) if each]
    middleware = [Middleware(RequestLogMiddleware, receivers)] if receivers else []
    if guard:
        middleware.append(Middleware(guard.wrap, metrics.refused if metrics else None))
    model = "/v2/models/{name}"

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        routes.start()
        yield
        await routes.stop()

    app = Starlette(
        routes=[
            Route("/v2", routes.server),
            Route("/v2/health/live", routes.live),
            Route("/v2/health/ready", routes.ready),
            *(Route(f"{prefix}", routes.metadata) for prefix in (model, model + "/versions/{version}")),
            *(Route(f"{prefix}/ready", routes.ready) for prefix in (model, model + "/versions/{version}")),
            *(
                Route(f"{prefix}/infer", routes.infer, methods=["POST"])
                for prefix in (model, model + "/versions/{version}")
            ),
        ],
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_error, WireError: _wire_error, Exception: _other_error},  # type: ignore[dict-item]
    )
    app.router.redirect_slashes = False  # a redirect would send clients to whatever host their request names
    app.state.is_ready = routes.is_ready
    return app


class _Routes:
    def __init__(self, tail: Tail, settings: HostSettings, metrics: Metrics | None) -> None:
        self._tail = tail
        self._metrics = metrics
        self._settings = settings
        limits = limits_of(tail.forms.values(), settings.max_batch, settings.max_body_bytes)
        self._reader = RequestReader(limits, settings.body_timeout_s)
        self._batcher: Batcher | None = None
        self._waiting = 0  # frames that wait for their answer
        if metrics:
            metrics.watch_waiting(lambda: self._waiting)

    def start(self) -> None:
        settings = self._settings
        waiting = max(MAX_WAITING, 2 * settings.max_batch)
        self._batcher = Batcher(
            self._run, settings.max_batch, settings.max_wait_s, waiting, settings.engine_timeout_s, ENGINE.error
        )
        self._batcher.start()

    async def stop(self) -> None:
        batcher, self._batcher = self._batcher, None
        if batcher:
            await batcher.stop()

    def is_ready(self) -> bool:
        return self._batcher is not None and not self._batcher.stuck

    def _run(self, requests: Sequence[Inputs]) -> Answers:
        if self._metrics:
            self._metrics.batch(sum(each.frames for each in requests))
        return self._tail.answer(requests)

    async def server(self, _request: Request) -> Response:
        return JSONResponse({"name": "sdn-edge-host", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, _request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        if "name" in request.path_params:
            self._check_model(request)
        if self._batcher is None:
            raise HTTPException(503, "the host is starting or stopping; ask again")
        if self._batcher.stuck:
            raise HTTPException(503, f"{self._batcher.stuck}; ask another host")
        return JSONResponse({"ready": True})

    async def metadata(self, request: Request) -> Response:
        self._check_model(request)
        return JSONResponse(model_metadata(self._tail.bundle, self._tail.forms, request.headers))

    async def infer(self, request: Request) -> Response:
        entry = request.scope.get(REQUEST_LOG) or RequestLog()
        client = client_of(request.scope)
        try:
            self._check_model(request)
            with self._reader.held(client) as held:
                message = await self._reader.read(request, client, held, entry)
                entry.id = message.id
                inputs = self._tail.checked(message.tensors, self._settings.max_batch)
                entry.frames = inputs.frames
                wanted = message.outputs or dict.fromkeys(("label", "confidence", "exit"), message.binary_default)
                unknown = sorted(set(wanted) - {"label", "confidence", "exit"})
                if unknown:
                    raise WireError(f"found wanted outputs {shown(unknown)}; expected label, confidence or exit")
                charge(request.scope, inputs.frames)
                answers, entry.batch = await self._answer(inputs, client)
            entry.exits = answers.exit
            tensors = {name: getattr(answers, name) for name in wanted}
            binary = [name for name, as_binary in wanted.items() if as_binary]
            answer = encode_response(self._tail.bundle.id, VERSION, tensors, message.id, binary)
            content, headers = encoded(answer.body, request.headers.get("accept-encoding", ""))
            if answer.header_length is None:
                return Response(content, headers=headers, media_type="application/json")
            headers[HEADER_LENGTH] = str(answer.header_length)  # of the body before its encoding, as in Triton
            return Response(content, headers=headers, media_type="application/octet-stream")
        except ClientDisconnect:
            entry.status = CLIENT_GONE  # the answer below reaches nobody
            return Response(status_code=400)

    async def _answer(self, inputs: Inputs, client: str) -> BatchedAnswers:
        batcher = self._batcher
        if batcher is None:
            raise HTTPException(503, "the host is stopping; ask another or ask again")
        self._waiting += inputs.frames
        try:
            answered = await batcher.infer(inputs, client)
        except Overloaded:
            raise HTTPException(503, "too many frames wait at this host; ask again later or ask another") from None
        except EngineStuck as error:
            raise HTTPException(503, f"{error}; ask another host") from None
        except Exception as error:
            raise HTTPException(500, f"the engine failed on this batch ({str(error)[:200]}); ask again") from error
        finally:
            self._waiting -= inputs.frames
        # Python's function on plain numbers: NumPy's takes ten times as long for a few values
        if not all(map(math.isfinite, answered.answers.confidence.tolist())):
            raise WireError(
                "found an activation with which this network's values go beyond float32; expected one of the bundle's head"
            )
        return answered

    def _check_model(self, request: Request) -> None:
        name, version = request.path_params["name"], request.path_params.get("version", VERSION)
        if name != self._tail.bundle.id or version != VERSION:
            raise HTTPException(
                404,
                f"found model {shown(name)} version {shown(version)} in the request; this host serves {self._tail.bundle.id!r} version "
                f"{VERSION!r}; start it with the same bundle as the device",
            )


async def _http_error(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _wire_error(_request: Request, error: WireError) -> Response:
    return JSONResponse({"error": str(error)}, error.status)


async def _other_error(_request: Request, _error: Exception) -> Response:
    """Answer to a fault of this program. The server logs the traceback; the client gets a sentence all the same."""
    return JSONResponse({"error": "the host failed on this request; its log on stderr says why; ask again"}, 500)
