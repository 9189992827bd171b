"""The live attacker: defq attack --serve attacks frames as a device's preview sends them.

It runs DeepSloth L-inf on each frame, against the exits on the device alone: they decide whether a frame crosses the network,
and the attack costs a fraction of one on all exits. It answers requests of the Open Inference Protocol
(device/protocol/messages.py) for a model named deepsloth. The input is ``frame``, uint8 (1, height, width, channels); the outputs are
the attacked ``frame`` and ``frames_per_second``. It attacks one frame at a time, as a demonstration for one device.
"""

import asyncio
import hmac
import ipaddress
import re
import secrets
import signal
import socket
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from torch import Tensor, nn

from device.errors import UsageError, WireError
from device.preview.attackers import MODEL
from device.protocol.messages import HEADER_LENGTH, decode_request, encode_response
from device.protocol.tensors import Limits
from export.attacks.connections import MOST, BoundedProtocol
from export.attacks.linf import DeepSlothLinf
from export.data.frames import to_pixels
from export.networks.sdn import SDN, folded
from export.networks.weights import to_tensor
from host.app.body import CLOSE, HeldMemory, read_body
from host.app.fairness import SharedBudget
from host.app.request_reader import header_length_of

BODY_TIMEOUT_S = 5.0
MAX_WAITING = 4  # frames; the loop of a device sends one at a time
TELL_S = 5.0
HEADER_BYTES = 1 << 12
MEMORY_REQUESTS = 2 * MOST  # of the largest, which all requests may hold together


class FirstExits(nn.Module):
    """The first ``count`` exits of a network. An attack on this module ignores the other exits and does not run them."""

    def __init__(self, network: SDN, count: int) -> None:
        super().__init__()
        self.network = network
        self.blocks = network.blocks[:count]

    def exits(self, images: Tensor, count: int) -> Tensor:
        return self.network.exits(images, count)


class LiveAttacker:
    """Attacks one frame after another.

    Args:
        network: in evaluation mode.
        split: exits on the device.
        steps: gradient steps for each frame.
    """

    def __init__(self, network: SDN, split: int, steps: int) -> None:
        self.frames = 0
        self.frames_per_s = 0.0
        self.shape = (1, *network.input_shape[1:], network.input_shape[0])
        self._target = FirstExits(folded(network), split)
        self._attack = DeepSlothLinf(iterations=steps)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Attack one frame.

        Args:
            frame: uint8 (1, height, width, channels).

        Returns:
            The attacked frame in the same shape, in whole levels as a camera would give them.
        """
        started = time.perf_counter()
        clean = to_tensor(frame).contiguous(memory_format=torch.channels_last)
        attacked = to_pixels(self._attack(self._target, clean, seed=self.frames, progress=False))
        rate = 1 / (time.perf_counter() - started)
        self.frames_per_s = 0.9 * self.frames_per_s + 0.1 * rate if self.frames else rate
        self.frames += 1
        return attacked


@dataclass(frozen=True, slots=True)
class AttackerFacts:
    """What the device compares with its bundle.

    Args:
        model: the network that is attacked.
        split: number of exits that are attacked, where all is one more than the internal classifiers.
        steps: of the attack, for each frame.
        weights_sha256: of the network's weights.
    """

    model: str
    split: int
    steps: int
    weights_sha256: str


def make_app(attacker: LiveAttacker, facts: AttackerFacts, token: str = "", local: bool = True) -> Starlette:
    """The application.

    Args:
        facts: what it tells about itself.
        token: that requests must show as ``Authorization: Bearer``; empty for none.
        local: answer only requests to names of this machine, so that no web page reaches it through a name of its own.

    Every error is JSON ``{"error": sentence}``: 400 malformed, 401 no token, 408 too late, 413 too large, 415 a Content-Type that a
    web page could send without permission, 503 too many frames waiting.
    """
    routes = _Routes(attacker, facts, token)
    hosts = ["localhost", "127.0.0.1", "[::1]"] if local else ["*"]
    return Starlette(
        routes=[
            Route(f"/v2/models/{MODEL}", routes.metadata),
            Route(f"/v2/models/{MODEL}/infer", routes.infer, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        exception_handlers={HTTPException: _http_error, WireError: _wire_error},  # type: ignore[dict-item]
    )


class _Routes:
    def __init__(self, attacker: LiveAttacker, facts: AttackerFacts, token: str) -> None:
        self._attacker = attacker
        self._facts = facts
        self._token = token
        self._limit = int(np.prod(attacker.shape)) + HEADER_BYTES
        self._memory = SharedBudget(MEMORY_REQUESTS * self._limit)
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._told_s = 0.0

    async def metadata(self, request: Request) -> Response:
        self._check_token(request)
        tensor = {"name": "frame", "datatype": "UINT8", "shape": list(self._attacker.shape)}
        rate = {"name": "frames_per_second", "datatype": "FP32", "shape": [1]}
        return JSONResponse(
            {
                "name": MODEL,
                "platform": "pytorch",
                "inputs": [tensor],
                "outputs": [tensor, rate],
                "parameters": asdict(self._facts),
            }
        )

    async def infer(self, request: Request) -> Response:
        self._check_token(request)
        if request.headers.get("content-type") != "application/octet-stream":
            raise HTTPException(415, "found another Content-Type; expected application/octet-stream")
        frame = await self._frame(request)
        if self._waiting >= MAX_WAITING:
            raise HTTPException(503, "too many frames wait here; this attacker serves one device; ask again later")
        self._waiting += 1
        try:
            async with self._turn:
                attacked = await asyncio.to_thread(self._attacker, frame)
        finally:
            self._waiting -= 1
        self._tell()
        rate = np.array([self._attacker.frames_per_s], np.float32)
        encoded = encode_response(MODEL, "1", {"frame": attacked, "frames_per_second": rate})
        headers = {HEADER_LENGTH: str(encoded.header_length)}
        return Response(encoded.body, headers=headers, media_type="application/octet-stream")

    def _check_token(self, request: Request) -> None:
        found = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._token and not hmac.compare_digest(found.encode("utf-8", "replace"), self._token.encode()):
            raise HTTPException(401, "found no valid token; expected the address that defq attack --serve printed")

    async def _frame(self, request: Request) -> np.ndarray:
        """The frame of a request.

        Raises:
            HTTPException: those of ``read_body``; 408 also where the client went away.
            WireError: malformed, or no frame of this network.
        """
        client = request.client.host if request.client else ""
        with HeldMemory(self._memory, client) as held:
            try:
                body = await read_body(request, self._limit, BODY_TIMEOUT_S, held, ", for one frame of this network")
            except ClientDisconnect:
                raise HTTPException(408, "found a request that stopped coming; send it again", CLOSE) from None
            limits = Limits(HEADER_BYTES, self._limit, HEADER_BYTES)
            tensors = decode_request(body, header_length_of(request), limits).tensors
        frame = tensors.get("frame")
        if frame is None or frame.dtype != np.uint8 or frame.shape != self._attacker.shape:
            found = {name: (str(each.dtype), each.shape) for name, each in list(tensors.items())[:4]}
            raise WireError(f"found {found}; expected frame, uint8 {self._attacker.shape}; is it another network's?")
        return frame.copy()  # PyTorch wants memory that may be written

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_s >= TELL_S:
            self._told_s = now
            print(
                f"attacked {self._attacker.frames} frames, now {self._attacker.frames_per_s:.1f} a second", flush=True
            )


async def _http_error(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _wire_error(_request: Request, error: WireError) -> Response:
    return JSONResponse({"error": str(error)}, error.status)


def serve(
    model: str,
    network: SDN,
    weights_sha256: str,
    split: int | None = 3,
    steps: int = 10,
    address: str = "127.0.0.1",
    port: int = 8090,
    token: str | None = None,
    threads: int = 1,
) -> int:
    """Attack frames until Ctrl-C.

    Args:
        network: in evaluation mode.
        split: exits on the device, as in its bundle; None for all and the final classifier. The attack is on internal
            classifiers alone.
        steps: gradient steps for each frame, 1 to 100.
        token: that a device must show. Without one, a token is created and printed if the address is not of this machine alone.
        threads: of PyTorch. One frame is too little work for a second thread, which also waits when other programs run.

    Raises:
        UsageError: an address, port or number that cannot work.
    """
    internal = len(network.blocks)
    if split is not None and not 1 <= split <= internal:
        raise UsageError(
            f"found --split {split}; expected 1 to {internal}, the internal classifiers of {model}, or all"
        )
    if not 1 <= steps <= 100 or not 1 <= threads <= 64:
        raise UsageError(f"found --steps {steps} and --threads {threads}; expected 1 to 100 and 1 to 64")
    if token is not None and not re.fullmatch("[A-Za-z0-9_-]{12,128}", token):
        raise UsageError(f"found a --token of {len(token)} characters; expected 12 to 128 letters, digits, - or _")
    listener = _listen(address, port)
    host, port = listener.getsockname()[:2]
    local = ipaddress.ip_address(host.split("%")[0]).is_loopback
    token = token or ("" if local else secrets.token_urlsafe(16))
    torch.set_num_threads(threads)
    attacked = split or internal
    attacker = LiveAttacker(network, attacked, steps)
    facts = AttackerFacts(model, split or internal + 1, steps, weights_sha256)
    shown = socket.gethostname() if ipaddress.ip_address(host.split("%")[0]).is_unspecified else host
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}" + (f"/?token={token}" if token else "")
    print(
        f"attacking {model}, exits 1 to {attacked}, {steps} steps a frame; give the device: --attacker '{url}'",
        flush=True,
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises the signal that stopped it again at its end
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config_of(make_app(attacker, facts, token, local))).run(sockets=[listener])
    return 0


def config_of(app: Starlette) -> uvicorn.Config:
    """How the application is served."""
    # h11 bounds the head of a request to 64 kB
    return uvicorn.Config(
        app, http=BoundedProtocol, ws="none", log_level="warning", access_log=False, timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )  # fmt: skip


def _listen(address: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address, port), family=family)
    except (OSError, UnicodeError, OverflowError) as error:
        raise UsageError(
            f"could not listen on {address}:{port} ({getattr(error, 'strerror', None) or error}); expected an address of this "
            "machine and a free port; choose another with --address and --port, or --port 0 for any"
        ) from error
