"""The routes of the Open Inference Protocol v2, as a Starlette application."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from device import __version__
from device.errors import WireError
from device.json_text import shown
from device.wire import HEADER_LENGTH, decode_request, encode_response
from device.wire_tensors import Limits
from host.batching import Batcher, Overloaded
from host.body import read_body
from host.encoding import decoded, encoded
from host.guard import Guarding
from host.log import Log
from host.metrics import Metrics
from host.record import GONE, RECORD, Record, Recorder
from host.tail import Answers, Inputs, Tail

VERSION = "1"
MAX_WAITING = 1024  # frames; the first answer of 503


class HostSettings(NamedTuple):
    """max_batch: frames. max_wait_s: latency that batching may add. max_body_bytes: of a request. body_timeout_s: how
    long a request's body may take to come. log_requests: one line a request on stderr."""

    max_batch: int = 32
    max_wait_s: float = 0.002
    max_body_bytes: int = 64 << 20
    body_timeout_s: float = 10.0
    log_requests: bool = False


def make_app(
    tail: Tail,
    settings: HostSettings = HostSettings(),  # noqa: B008 (immutable)
    guarding: Guarding | None = None,
    log: Log | None = None,
    metrics: Metrics | None = None,
) -> Starlette:
    """The application that serves ``tail`` under its bundle's id.

    Every error is JSON ``{"error": sentence}``: 400 malformed, 404 another model, 408 a body that stops coming, 413 too
    large, 415 an unknown Content-Encoding, 500 the engine failed, 503 not ready or too many waiting; and those of
    host/guard.py.

    Args:
        guarding: who may ask, and how much; None = all.
        log: gets a line for each request; None = as ``settings`` say.
        metrics: counts requests.

    Attributes:
        state.is_ready: a function that says whether requests are taken.
    """
    if log is None and settings.log_requests:
        log = Log()
    routes = _Routes(tail, settings, metrics)
    tell: list[Callable[[Record], None]] = [each.request for each in (log, metrics) if each]
    middleware = [Middleware(Recorder, tell)] if tell else []
    if guarding:
        middleware.append(Middleware(guarding.wrap, metrics.refused if metrics else None))
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
    app.router.redirect_slashes = False  # it would send clients to whatever host their request names
    app.state.is_ready = routes.is_ready
    return app


class _Routes:
    def __init__(self, tail: Tail, settings: HostSettings, metrics: Metrics | None) -> None:
        self._tail = tail
        self._metrics = metrics
        self._settings = settings
        self._limits = Limits(body_bytes=settings.max_body_bytes)
        self._batcher: Batcher | None = None
        self._waiting = 0  # frames
        if metrics:
            metrics.watch_waiting(lambda: self._waiting)

    def start(self) -> None:
        max_batch = self._settings.max_batch
        self._batcher = Batcher(self._run, max_batch, self._settings.max_wait_s, max(MAX_WAITING, max_batch))
        self._batcher.start()

    async def stop(self) -> None:
        batcher, self._batcher = self._batcher, None
        if batcher:
            await batcher.stop()

    def is_ready(self) -> bool:
        return self._batcher is not None

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
        if not self.is_ready():
            raise HTTPException(503, "the host is starting or stopping; ask again")
        return JSONResponse({"ready": True})

    async def metadata(self, request: Request) -> Response:
        self._check_model(request)
        bundle = self._tail.bundle

        def tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
            return {"name": name, "datatype": datatype, "shape": shape}

        return JSONResponse(
            {
                "name": bundle.id,
                "versions": [VERSION],
                "platform": "onnxruntime_onnx",
                "inputs": [tensor(*each) for each in self._tail.inputs()],
                "outputs": [
                    tensor("label", "INT64", [-1]),
                    tensor("confidence", "FP32", [-1]),
                    tensor("exit", "INT64", [-1]),
                ],
            }
        )

    async def infer(self, request: Request) -> Response:
        record = request.scope.get(RECORD) or Record()
        try:
            self._check_model(request)
            body = await read_body(request, self._settings.max_body_bytes, self._settings.body_timeout_s)
            record.bytes = len(body)
            body = await decoded(body, request.headers.get("content-encoding", ""), self._settings.max_body_bytes)
            message = decode_request(body, _header_length(request), self._limits)
            record.id = message.id
            inputs = self._tail.checked(message.tensors, self._settings.max_batch)
            record.frames = inputs.frames
            wanted = message.outputs or dict.fromkeys(("label", "confidence", "exit"), message.binary_default)
            unknown = sorted(set(wanted) - {"label", "confidence", "exit"})
            if unknown:
                raise WireError(f"found wanted outputs {shown(unknown)}; expected label, confidence or exit")
            if self._batcher is None:
                raise HTTPException(503, "the host is stopping; ask another or ask again")
            answers, record.batch = await self._answer(self._batcher, inputs)
            record.exits = answers.exit
            tensors = {name: getattr(answers, name) for name in wanted}
            binary = [name for name, as_binary in wanted.items() if as_binary]
            answer = encode_response(self._tail.bundle.id, VERSION, tensors, message.id, binary)
            content, headers = encoded(answer.body, request.headers.get("accept-encoding", ""))
            if answer.header_length is None:
                return Response(content, headers=headers, media_type="application/json")
            headers[HEADER_LENGTH] = str(answer.header_length)  # before the encoding, as Triton counts
            return Response(content, headers=headers, media_type="application/octet-stream")
        except ClientDisconnect:
            record.status = GONE  # nobody is there to read it
            return Response(status_code=400)

    async def _answer(self, batcher: Batcher, inputs: Inputs) -> Any:
        self._waiting += inputs.frames
        try:
            return await batcher.infer(inputs)
        except Overloaded:
            raise HTTPException(503, "too many frames wait at this host; ask again later or ask another") from None
        except Exception as error:
            raise HTTPException(500, f"the engine failed on this batch ({str(error)[:200]}); ask again") from error
        finally:
            self._waiting -= inputs.frames

    def _check_model(self, request: Request) -> None:
        name, version = request.path_params["name"], request.path_params.get("version", VERSION)
        if name != self._tail.bundle.id or version != VERSION:
            raise HTTPException(
                404,
                f"found model {shown(name)} version {shown(version)} in the request; this host serves {self._tail.bundle.id!r} version "
                f"{VERSION!r}; start it with the same bundle as the device",
            )


def _header_length(request: Request) -> int | None:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise WireError(f"found {HEADER_LENGTH} {shown(text)}; expected a whole number of bytes")
    return int(text)


async def _http_error(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _wire_error(_request: Request, error: WireError) -> Response:
    return JSONResponse({"error": str(error)}, error.status)


async def _other_error(_request: Request, _error: Exception) -> Response:
    """A fault of this program: the server logs its traceback, the client gets a sentence all the same."""
    return JSONResponse({"error": "the host failed on this request; its log on stderr says why; ask again"}, 500)
