"""Reads a request: receives its body, undoes the compression, and parses the message in it.

Everything is bounded by the largest request that the model accepts, before anything is unpacked or parsed. Work that takes
longer than about a millisecond is done in a thread, for one request at a time, with pauses in which other requests are served.
"""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request

from device.errors import WireError
from device.protocol.messages import HEADER_LENGTH, InferRequest, decode_request
from device.protocol.tensors import DTYPES, Limits
from device.system.json_text import shown
from host.app.body import HeldMemory, read_body
from host.app.encoding import BodyDecoder
from host.app.fairness import FairExecutor, SharedBudget
from host.serving.request_log import RequestLog

Form = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensors of a payload form: the name of each, with the datatype and the shape of one frame."""

INLINE_JSON_BYTES = 8 << 10  # JSON up to this size is parsed at once
HEADER_BYTES = 64 << 10  # for a JSON header, in addition to the values of tensors
VALUE_BYTES = 32  # for a number in JSON; a float32 needs 26 at most, with the separator behind it
OTHER_VALUES = 4096  # values and lists in JSON, in addition to those of tensors
MEMORY_FRAMES = 1024  # frames in the largest form that all requests together may hold
MEMORY_REQUESTS = 4  # requests of the largest size that fit into the memory at least
LEAST_MEMORY = 16 << 20
PAUSE_S = 0.0005


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits of one request, and of all of them together.

    Attributes:
        frames: frames in a request.
        binary_bytes: bytes of a body with binary tensors.
        memory_bytes: bytes that all requests together may hold.
        message: limits of the JSON text and of what the message in a body says.
    """

    frames: int
    binary_bytes: int
    memory_bytes: int
    message: Limits


def limits_of(forms: Iterable[Form], frames: int, max_body_bytes: int) -> RequestLimits:
    """Limits that the largest request of ``frames`` frames in any of the ``forms`` just meets. No body may have more than
    ``max_body_bytes``."""
    tensors = [[*form.values(), ("FP32", (1,))] for form in forms]  # the threshold may come with any form
    frame_bytes = max(sum(_bytes(*each) for each in form) for form in tensors)
    values = frames * max(sum(math.prod(shape) for _, shape in form) for form in tensors)
    lists = frames * max(sum(_lists(shape) for _, shape in form) for form in tensors)
    binary = min(frames * frame_bytes + HEADER_BYTES, max_body_bytes)
    text = min(values * VALUE_BYTES + HEADER_BYTES, max_body_bytes)
    memory = max(MEMORY_FRAMES * frame_bytes, MEMORY_REQUESTS * max(binary, text), LEAST_MEMORY)
    message = Limits(
        header_bytes=text, body_bytes=max(binary, text), json_bytes=text,
        json_nodes=lists + OTHER_VALUES, json_values=values + OTHER_VALUES,
    )  # fmt: skip
    return RequestLimits(frames, binary, memory, message)


class RequestReader:
    """Reads requests within limits.

    Args:
        limits: the limits.
        timeout_s: seconds in which a body must arrive.

    Attributes:
        memory: bytes that all requests share.
    """

    def __init__(self, limits: RequestLimits, timeout_s: float) -> None:
        self._limits = limits
        self._timeout_s = timeout_s
        self.memory = SharedBudget(limits.memory_bytes)
        self._executor = FairExecutor()

    def held(self, client: str) -> HeldMemory:
        """Memory for a request of this client. The caller gives it back, because the caller uses the tensors."""
        return HeldMemory(self.memory, client)

    async def read(self, request: Request, client: str, held: HeldMemory, entry: RequestLog) -> InferRequest:
        """The message of a request.

        Args:
            request: the request, of which only the head has been read.
            client: name of its client.
            held: memory of this request, from ``held``.
            entry: gets the size of the body as ``bytes``.

        Raises:
            WireError: the message is malformed, or larger than the model accepts.
            HTTPException: see ``read_body`` and ``BodyDecoder``.
            ClientDisconnect: the client has gone.
        """
        header_length = header_length_of(request)
        limit = self._limits.message.json_bytes if header_length is None else self._limits.binary_bytes
        limit_reason = f", for {self._limits.frames} frames of this model"
        body = await read_body(request, limit, self._timeout_s, held, limit_reason)
        entry.bytes = len(body)
        decoder = BodyDecoder(body, request.headers.get("content-encoding", ""), limit)
        if decoder.is_short:
            content = decoder.content()
            if content is not body:
                held.add(len(content))
            if (len(content) if header_length is None else header_length) <= INLINE_JSON_BYTES:
                return decode_request(content, header_length, self._limits.message)
        message = await self._executor.run(client, limit, partial(self._read_slowly, decoder, header_length))
        held.add(sum(tensor.nbytes for tensor in message.tensors.values()))
        return message

    def _read_slowly(self, decoder: BodyDecoder, header_length: int | None) -> InferRequest:
        """Unpack and parse in a thread. The unpacked body may be a thousand times as large as the body, so only one request at a
        time unpacks."""
        pause = partial(time.sleep, PAUSE_S)
        return decode_request(decoder.content(), header_length, self._limits.message, pause)


def _bytes(datatype: str, shape: tuple[int, ...]) -> int:
    return int(DTYPES[datatype][-1].replace("?", "1")) * math.prod(shape)


def _lists(shape: tuple[int, ...]) -> int:
    """Number of nested JSON lists that hold the values of a tensor of this shape."""
    return sum(math.prod(shape[:axis]) for axis in range(len(shape)))


def header_length_of(request: Request) -> int | None:
    """The value of Inference-Header-Content-Length, or None if the request has no such header.

    Raises:
        WireError: the value is not a whole number.
    """
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise WireError(f"found {HEADER_LENGTH} {shown(text)}; expected a whole number of bytes")
    return int(text)
