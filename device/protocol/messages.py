"""The messages between device and host: Open Inference Protocol v2 with the binary tensor extension.

This module turns bytes into messages and messages into bytes; it knows no sockets. A body is a JSON header of
``header_length`` bytes, followed by the raw bytes of the tensors in the order of the header, little endian
(device/protocol/tensors.py).

Specification: the Open Inference Protocol (KServe "predict protocol v2") and NVIDIA Triton's "binary tensor data
extension".
"""

import json
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from device.errors import WireError
from device.protocol.tensors import DEFAULT_LIMITS, Limits, describe, object_in, objects_in, read_tensors, text_in
from device.system.json_text import Pause, read_json

PIECE_BYTES = 1 << 18  # of JSON that is scanned between two pauses
HEADER_LENGTH = "Inference-Header-Content-Length"


class Encoded(NamedTuple):
    """A message that is ready to be sent."""

    body: bytes
    header_length: Optional[int]
    """The value for Inference-Header-Content-Length; None for a body that is JSON alone, which has no such HTTP header."""


class InferRequest(NamedTuple):
    """A request to a server."""

    id: str
    tensors: Dict[str, np.ndarray]
    """Read-only arrays."""
    outputs: Dict[str, bool]
    """Name of each output that is wanted -> whether it is wanted as binary data. Empty for all outputs."""
    binary_default: bool
    """Whether outputs that ``outputs`` does not name are wanted as binary data."""
    parameters: Dict[str, Any]


class InferResponse(NamedTuple):
    """The answer of a server."""

    model_name: str
    model_version: str
    id: str
    tensors: Dict[str, np.ndarray]
    """Read-only arrays."""
    parameters: Dict[str, Any]


def encode_request(
    tensors: Dict[str, np.ndarray], outputs: Sequence[str] = (), request_id: str = "", binary: bool = True
) -> Encoded:
    """Encode a request.

    Args:
        tensors: the inputs.
        outputs: names of the outputs that are wanted; empty for all.
        binary: whether inputs and outputs are binary data or JSON.
    """
    header: Dict[str, Any] = {"id": request_id} if request_id else {}
    header["inputs"], blobs = describe(tensors, set(tensors) if binary else set())
    if outputs:
        header["outputs"] = [{"name": name, "parameters": {"binary_data": binary}} for name in outputs]
    elif binary:
        header["parameters"] = {"binary_data_output": True}
    return _joined(header, blobs)


def encode_response(
    model_name: str,
    model_version: str,
    tensors: Dict[str, np.ndarray],
    request_id: str = "",
    binary_names: Optional[Sequence[str]] = None,
) -> Encoded:
    """Encode an answer.

    Args:
        binary_names: the tensors that are sent as binary data, all by default. The others are sent as JSON.
    """
    header: Dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if request_id:
        header["id"] = request_id
    header["outputs"], blobs = describe(tensors, set(tensors if binary_names is None else binary_names))
    return _joined(header, blobs)


def decode_request(
    body: bytes, header_length: Optional[int], limits: Limits = DEFAULT_LIMITS, pause: Pause = None
) -> InferRequest:
    """Read a request.

    Args:
        body: the whole HTTP body.
        header_length: the value of Inference-Header-Content-Length; None when the body is JSON alone.
        pause: called repeatedly while a long JSON text is read (device/system/json_text.py).

    Raises:
        WireError: the message is malformed (status 400) or larger than ``limits`` (413).
    """
    header, rest = _split(body, header_length, limits, pause)
    parameters = object_in(header, "parameters")
    outputs: Dict[str, bool] = {}
    binary_default = parameters.get("binary_data_output") is True
    for wanted in objects_in(header, "outputs", limits, required=False):
        own = object_in(wanted, "parameters")
        outputs[text_in(wanted, "name")] = own.get("binary_data", binary_default) is True
    tensors = read_tensors(objects_in(header, "inputs", limits), rest, limits, pause)
    return InferRequest(text_in(header, "id", ""), tensors, outputs, binary_default, parameters)


def decode_response(body: bytes, header_length: Optional[int], limits: Limits = DEFAULT_LIMITS) -> InferResponse:
    """Read an answer; arguments and errors as ``decode_request``."""
    header, rest = _split(body, header_length, limits)
    tensors = read_tensors(objects_in(header, "outputs", limits), rest, limits)
    return InferResponse(
        text_in(header, "model_name", ""), text_in(header, "model_version", ""), text_in(header, "id", ""), tensors,
        object_in(header, "parameters"),
    )  # fmt: skip


def error_body(message: str) -> bytes:
    """The JSON body of every error answer."""
    return json.dumps({"error": message}).encode("utf-8")


def is_error(body: bytes) -> bool:
    """Whether an error answer is one of the protocol: JSON with an ``error`` that is text."""
    try:
        return isinstance(read_json(body)["error"], str)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def error_message(body: bytes) -> str:
    """The sentence of an error answer, on one line; the beginning of the body if the answer is not of the protocol."""
    try:
        text = str(read_json(body)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return repr(body[:80])
    # escape sequences of a peer must not reach a terminal
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[:500])


def _joined(header: Dict[str, Any], blobs: List[bytes]) -> Encoded:
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode("utf-8")
    return Encoded(b"".join([text, *blobs]), len(text) if blobs else None)


def _split(
    body: bytes, header_length: Optional[int], limits: Limits, pause: Pause = None
) -> Tuple[Dict[str, Any], memoryview]:
    """The JSON header as a dictionary, and the bytes after it."""
    if len(body) > limits.body_bytes:
        raise WireError("found a message of {} bytes; expected at most {}".format(len(body), limits.body_bytes), 413)
    length = len(body) if header_length is None else header_length
    if not 0 < length <= len(body):
        raise WireError("found a JSON header of {} bytes announced in a message of {}; expected 1 to {}; was it cut off?".format(
            length, len(body), len(body)))  # fmt: skip
    most = limits.json_bytes if header_length is None else limits.header_bytes
    if length > most:
        raise WireError(
            "found a JSON header of {} bytes; expected at most {}; send tensors as binary data".format(length, most),
            413,
        )
    text = bytes(body[:length])
    _check_size(text, limits, pause)
    try:
        header = read_json(text, constants=False, pause=pause)
    except ValueError as error:
        raise WireError(
            "could not read the JSON header ({}); expected UTF-8 JSON of the Open Inference Protocol".format(error)
        ) from error
    if not isinstance(header, dict):
        raise WireError("found {} as the JSON header; expected an object".format(type(header).__name__))
    return header, memoryview(body)[length:]


def _check_size(text: bytes, limits: Limits, pause: Pause) -> None:
    """Count, before JSON is parsed, how many objects parsing would create; piece by piece, up to the limits."""
    nodes = values = 0
    for start in range(0, len(text), PIECE_BYTES):
        if pause is not None and start:
            pause()
        end = start + PIECE_BYTES
        nodes += text.count(b"[", start, end) + text.count(b"{", start, end) + text.count(b":", start, end)
        values += text.count(b",", start, end)
        if nodes > limits.json_nodes:
            raise WireError(
                "found more than {} lists, objects and members in the JSON; expected fewer".format(limits.json_nodes),
                413,
            )
        if values > limits.json_values:
            raise WireError(
                "found more than {} values in the JSON; expected fewer; send fewer frames, or tensors as binary data".format(
                    limits.json_values
                ),
                413,
            )
