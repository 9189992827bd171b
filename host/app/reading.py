"""Reads a request: its body, what that holds packed, and the message in it.

All of it is bounded by the largest request that the model takes, before anything is unpacked or parsed. What takes longer
than about a millisecond is done in a thread, one request at a time, with pauses in which the others are served.
"""

import math
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

from starlette.requests import Request

from device.errors import WireError
from device.protocol.messages import HEADER_LENGTH, InferRequest, decode_request
from device.protocol.tensors import DTYPES, Limits
from device.system.json_text import shown
from host.app.body import Held, read_body
from host.app.encoding import Unpacking
from host.app.fair import Shares, Turns
from host.serving.request_log import RequestLog

Form = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensors of a payload form: name -> datatype and shape of one frame."""

INLINE_JSON_BYTES = 8 << 10  # of JSON that is read at once
HEADER_BYTES = 64 << 10  # of a JSON header, beside the values of tensors
VALUE_BYTES = 32  # of a number in JSON: a float32 has 26 at most, with what stands between two of them
OTHER_VALUES = 4096  # and lists in JSON, beside those of tensors
MEMORY_FRAMES = 1024  # of the largest form, which all requests may hold together
MEMORY_REQUESTS = 4  # of the largest, at least
LEAST_MEMORY = 16 << 20
PAUSE_S = 0.0005


class RequestLimits(NamedTuple):
    """frames: of a request. binary_bytes: of a body with binary tensors. memory_bytes: of all requests together. message:
    of JSON, and of what the message in a body says."""

    frames: int
    binary_bytes: int
    memory_bytes: int
    message: Limits


def limits_of(forms: Iterable[Form], frames: int, max_body_bytes: int) -> RequestLimits:
    """What a request of ``frames`` frames takes at most in any of the ``forms``; no body more than ``max_body_bytes``."""
    tensors = [[*form.values(), ("FP32", (1,))] for form in forms]  # with the threshold
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


class Reader:
    """Reads requests within limits.

    Args:
        timeout_s: how long a body may take to come.
    """

    def __init__(self, limits: RequestLimits, timeout_s: float) -> None:
        self._limits = limits
        self._timeout_s = timeout_s
        self._memory = Shares(limits.memory_bytes)
        self._turns = Turns()

    def held(self, client: str) -> Held:
        """What a request of this client will hold of the memory; given back by the caller, who uses its tensors."""
        return Held(self._memory, client)

    async def read(self, request: Request, client: str, held: Held, entry: RequestLog) -> InferRequest:
        """The message of a request. Sets ``bytes`` of ``entry``.

        Raises:
            WireError: malformed, or larger than the model takes.
            HTTPException: those of ``read_body`` and ``Unpacking``.
            ClientDisconnect: nobody waits for an answer.
        """
        header_length = header_length_of(request)
        limit = self._limits.message.json_bytes if header_length is None else self._limits.binary_bytes
        takes = f", for {self._limits.frames} frames of this model"
        body = await read_body(request, limit, self._timeout_s, held, takes)
        entry.bytes = len(body)
        unpacking = Unpacking(body, request.headers.get("content-encoding", ""), limit)
        if unpacking.is_short:
            content = unpacking.content()
            if content is not body:
                held.add(len(content))
            if (len(content) if header_length is None else header_length) <= INLINE_JSON_BYTES:
                return decode_request(content, header_length, self._limits.message)
        message = await self._turns.run(client, limit, partial(self._read_slowly, unpacking, header_length))
        held.add(sum(tensor.nbytes for tensor in message.tensors.values()))
        return message

    def _read_slowly(self, unpacking: Unpacking, header_length: int | None) -> InferRequest:
        """In a thread. What is unpacked here nobody else holds before it is read: it may be a thousand times the body."""
        pause = partial(time.sleep, PAUSE_S)
        return decode_request(unpacking.content(), header_length, self._limits.message, pause)


def _bytes(datatype: str, shape: tuple[int, ...]) -> int:
    return int(DTYPES[datatype][-1].replace("?", "1")) * math.prod(shape)


def _lists(shape: tuple[int, ...]) -> int:
    """How many lists hold the values of a tensor, each within the list of the axis before it."""
    return sum(math.prod(shape[:axis]) for axis in range(len(shape)))


def header_length_of(request: Request) -> int | None:
    """The value of Inference-Header-Content-Length; None where there is none.

    Raises:
        WireError: it is no whole number.
    """
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise WireError(f"found {HEADER_LENGTH} {shown(text)}; expected a whole number of bytes")
    return int(text)
