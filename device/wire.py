"""The messages between device and host: Open Inference Protocol v2 with the binary tensor extension.

Bytes in, messages out; no sockets. A body is a JSON header of ``header_length`` bytes followed by the raw bytes of
the tensors in the header's order, little endian. Every length, type, rank and product of a shape is checked before an
array is made, and arrays are views of the body.

Specification: the Open Inference Protocol (KServe "predict protocol v2") and NVIDIA Triton's "binary tensor data
extension".
"""

import json
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from device.errors import WireError
from device.json_text import read_json

HEADER_LENGTH = "Inference-Header-Content-Length"

DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}


class Limits(NamedTuple):
    """What a message may be at most; beyond it a WireError with status 413."""

    header_bytes: int = 1 << 16
    body_bytes: int = 64 << 20
    json_bytes: int = 32 << 20
    """Of a message that is JSON alone: read, it takes up to 15 times as much memory."""
    json_nodes: int = 1 << 17
    """Lists, objects and members of objects in JSON: two characters take up to 64 bytes of memory."""
    tensors: int = 16
    rank: int = 8


DEFAULT_LIMITS = Limits()


class Encoded(NamedTuple):
    """A body to send; ``header_length`` goes into the HTTP header of that name, unless it is None (plain JSON)."""

    body: bytes
    header_length: Optional[int]


class InferRequest(NamedTuple):
    """tensors: name -> read-only array. outputs: wanted name -> whether as binary; empty = all, as ``binary_default``."""

    id: str
    tensors: Dict[str, np.ndarray]
    outputs: Dict[str, bool]
    binary_default: bool
    parameters: Dict[str, Any]


class InferResponse(NamedTuple):
    """tensors: name -> read-only array."""

    model_name: str
    model_version: str
    id: str
    tensors: Dict[str, np.ndarray]
    parameters: Dict[str, Any]


def encode_request(
    tensors: Dict[str, np.ndarray], outputs: Sequence[str] = (), request_id: str = "", binary: bool = True
) -> Encoded:
    """A request that carries ``tensors`` and asks for ``outputs`` (all, if none is named), as binary or as JSON both."""
    header: Dict[str, Any] = {"id": request_id} if request_id else {}
    header["inputs"], blobs = _described(tensors, set(tensors) if binary else set())
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
    """An answer. ``binary_names``: which tensors go as binary, all by default; the others go as JSON."""
    header: Dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if request_id:
        header["id"] = request_id
    header["outputs"], blobs = _described(tensors, set(tensors if binary_names is None else binary_names))
    return _joined(header, blobs)


def decode_request(body: bytes, header_length: Optional[int], limits: Limits = DEFAULT_LIMITS) -> InferRequest:
    """Read a request.

    Args:
        body: the whole HTTP body.
        header_length: the value of Inference-Header-Content-Length; None when the body is JSON alone.

    Raises:
        WireError: malformed (status 400) or beyond ``limits`` (413).
    """
    header, rest = _split(body, header_length, limits)
    parameters = _object(header, "parameters")
    outputs: Dict[str, bool] = {}
    binary_default = parameters.get("binary_data_output") is True
    for wanted in _objects(header, "outputs", limits, required=False):
        own = _object(wanted, "parameters")
        outputs[_text(wanted, "name")] = own.get("binary_data", binary_default) is True
    tensors = _tensors(_objects(header, "inputs", limits), rest, limits)
    return InferRequest(_text(header, "id", ""), tensors, outputs, binary_default, parameters)


def decode_response(body: bytes, header_length: Optional[int], limits: Limits = DEFAULT_LIMITS) -> InferResponse:
    """Read an answer; arguments and errors as ``decode_request``."""
    header, rest = _split(body, header_length, limits)
    tensors = _tensors(_objects(header, "outputs", limits), rest, limits)
    return InferResponse(
        _text(header, "model_name", ""), _text(header, "model_version", ""), _text(header, "id", ""), tensors,
        _object(header, "parameters"),
    )  # fmt: skip


def error_body(message: str) -> bytes:
    """The JSON body of every error answer."""
    return json.dumps({"error": message}).encode("utf-8")


def error_message(body: bytes) -> str:
    """What an error answer says, on one line; the beginning of the body where it is not of the protocol."""
    try:
        text = str(read_json(body)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return repr(body[:80])
    # a peer's escape sequences are not for the terminal of whoever reads this
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[:500])


def shown(value: Any) -> str:
    """What a peer wrote, for a sentence: quoted, on one line and not longer than fits there."""
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."


def _described(tensors: Dict[str, np.ndarray], binary: Any) -> Tuple[List[Dict[str, Any]], List[bytes]]:
    """The JSON description of each tensor, and the raw bytes of those that go as binary."""
    described, blobs = [], []
    for name, array in tensors.items():
        dtype = NAMES.get(array.dtype)
        if dtype is None:
            raise WireError(
                "found tensor {!r} of type {}; expected one of {}".format(name, array.dtype, ", ".join(DTYPES))
            )
        entry: Dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": dtype}
        if name in binary:
            blob = array.tobytes()
            entry["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise WireError(
                    "found NaN or infinite values in tensor {}; JSON has no such numbers; ask for binary data".format(
                        shown(name)
                    )
                )
            entry["data"] = array.ravel().tolist()
        described.append(entry)
    return described, blobs


def _joined(header: Dict[str, Any], blobs: List[bytes]) -> Encoded:
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode("utf-8")
    return Encoded(b"".join([text, *blobs]), len(text) if blobs else None)


def _split(body: bytes, header_length: Optional[int], limits: Limits) -> Tuple[Dict[str, Any], memoryview]:
    """The JSON header as a dictionary, and the bytes behind it."""
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
    nodes = sum(map(text.count, (b"[", b"{", b":")))
    if nodes > limits.json_nodes:
        raise WireError(
            "found {} lists, objects and members in the JSON; expected at most {}".format(nodes, limits.json_nodes), 413
        )
    try:
        header = read_json(text, constants=False)
    except ValueError as error:
        raise WireError(
            "could not read the JSON header ({}); expected UTF-8 JSON of the Open Inference Protocol".format(error)
        ) from error
    if not isinstance(header, dict):
        raise WireError("found {} as the JSON header; expected an object".format(type(header).__name__))
    return header, memoryview(body)[length:]


def _object(holder: Dict[str, Any], key: str) -> Dict[str, Any]:
    value = holder.get(key)
    if value is None:  # absent, or null as KServe writes it
        return {}
    if not isinstance(value, dict):
        raise WireError("found {} as {!r}; expected an object".format(type(value).__name__, key))
    return value


def _objects(header: Dict[str, Any], key: str, limits: Limits, required: bool = True) -> List[Dict[str, Any]]:
    value = header.get(key)
    if value is None and not required:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise WireError("found no list of objects under {!r}; expected the tensors of the message there".format(key))
    if len(value) > limits.tensors:
        raise WireError("found {} tensors under {!r}; expected at most {}".format(len(value), key, limits.tensors), 413)
    return value


def _text(holder: Dict[str, Any], key: str, default: Optional[str] = None) -> str:
    value = holder.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise WireError("found {} as {!r}; expected a string".format(shown(value), key))
    return value


def _tensors(entries: List[Dict[str, Any]], rest: memoryview, limits: Limits) -> Dict[str, np.ndarray]:
    tensors: Dict[str, np.ndarray] = {}
    offset = 0
    for entry in entries:
        name = _text(entry, "name")
        dtype, shape, count = _layout(entry, name, limits)
        size = _object(entry, "parameters").get("binary_data_size")
        if name in tensors:
            raise WireError("found two tensors named {}; expected each name once".format(shown(name)))
        if size is None:
            tensors[name] = _from_json(entry, name, dtype, shape, count)
            continue
        if type(size) is not int or size != count * dtype.itemsize:
            raise WireError("found binary_data_size {} for tensor {}; its shape {} of {} has {} bytes".format(
                shown(size), shown(name), list(shape), dtype, count * dtype.itemsize))  # fmt: skip
        if offset + size > len(rest):
            raise WireError("found {} bytes after the JSON header; tensor {} ends at byte {}; was the message cut off?".format(
                len(rest), shown(name), offset + size))  # fmt: skip
        tensors[name] = np.frombuffer(rest, dtype, count, offset).reshape(shape)
        offset += size
    if offset != len(rest):
        raise WireError("found {} bytes after the JSON header; its tensors have {}".format(len(rest), offset))
    return tensors


def _layout(entry: Dict[str, Any], name: str, limits: Limits) -> Tuple[np.dtype, Tuple[int, ...], int]:
    """Type, shape and number of elements that an entry claims."""
    code = DTYPES.get(_text(entry, "datatype"))
    if code is None:
        raise WireError(
            "found datatype {} for tensor {}; expected one of {}".format(
                shown(entry["datatype"]), shown(name), ", ".join(DTYPES)
            )
        )
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) > limits.rank:
        raise WireError("found no shape of at most {} dimensions for tensor {}".format(limits.rank, shown(name)))
    dtype, size = np.dtype(code), np.dtype(code).itemsize
    for dimension in shape:
        if type(dimension) is not int or dimension < 0:
            raise WireError(
                "found {} in the shape of tensor {}; expected whole numbers from 0 on".format(
                    shown(dimension), shown(name)
                )
            )
        size *= max(dimension, 1)  # NumPy cannot make (0, 2^26, 2^26, 2^26) either
        if size > limits.body_bytes:
            raise WireError(
                "found a shape of {} for tensor {}; expected at most {} bytes".format(
                    shown(shape), shown(name), limits.body_bytes
                ),
                413,
            )
    return dtype, tuple(shape), 0 if 0 in shape else size // dtype.itemsize


def _from_json(entry: Dict[str, Any], name: str, dtype: np.dtype, shape: Tuple[int, ...], count: int) -> np.ndarray:
    """A tensor whose elements stand in the header, as a flat or nested list."""
    data = entry.get("data")
    if not isinstance(data, list):
        raise WireError(
            "found neither data nor binary_data_size for tensor {}; expected one of them".format(shown(name))
        )
    kinds: Dict[str, Set[type]] = {"b": {bool}, "u": {int}, "i": {int}, "f": {int, float}}
    try:
        cells = np.array(data, object).ravel().tolist()  # lists of unequal length stay lists, without a warning
        fits = len(cells) == count and set(map(type, cells)) <= kinds[dtype.kind]
        if fits and dtype.kind in "ui" and cells:  # beyond them it would wrap
            fits = bool(np.iinfo(dtype).min <= min(cells) and max(cells) <= np.iinfo(dtype).max)
        with np.errstate(over="ignore"):
            array = np.array(cells if fits else [], dtype)
    except (ValueError, OverflowError):
        fits = False
    if not fits or not np.isfinite(array).all():
        raise WireError(
            "found data for tensor {} that are not {} values of type {}".format(shown(name), count, entry["datatype"])
        )
    array = array.reshape(shape)
    array.flags.writeable = False
    return array
