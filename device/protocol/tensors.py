"""The tensors of a message between device and host: their JSON description, and the arrays.

Every length, type, rank and product of a shape is checked before an array is created. Arrays are views of the body.
"""

from itertools import chain
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from device.errors import WireError
from device.system.json_text import Pause, shown

DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
PIECE = 1 << 13  # elements that are read from JSON between two pauses, in about half a millisecond
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}


class Limits(NamedTuple):
    """The largest message that is read. A larger one is a WireError with status 413."""

    header_bytes: int = 1 << 16
    body_bytes: int = 64 << 20
    json_bytes: int = 32 << 20
    """Of a message that is JSON alone. Parsed, JSON takes up to 15 times as much memory."""
    json_nodes: int = 1 << 17
    """Lists, objects and members of objects in JSON. Two characters of JSON take up to 64 bytes of memory."""
    json_values: int = 1 << 23
    """Values in JSON, counted by the commas. Each takes up to 40 bytes of memory and at least a tenth of a microsecond."""
    tensors: int = 16
    rank: int = 8


DEFAULT_LIMITS = Limits()


def describe(tensors: Dict[str, np.ndarray], binary: Any) -> Tuple[List[Dict[str, Any]], List[bytes]]:
    """The JSON description of each tensor, and the raw bytes of those that are sent as binary data.

    Args:
        binary: names of these tensors.
    """
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


def object_in(holder: Dict[str, Any], key: str) -> Dict[str, Any]:
    value = holder.get(key)
    if value is None:  # absent, or null as KServe writes it
        return {}
    if not isinstance(value, dict):
        raise WireError("found {} as {!r}; expected an object".format(type(value).__name__, key))
    return value


def objects_in(header: Dict[str, Any], key: str, limits: Limits, required: bool = True) -> List[Dict[str, Any]]:
    value = header.get(key)
    if value is None and not required:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise WireError("found no list of objects under {!r}; expected the tensors of the message there".format(key))
    if len(value) > limits.tensors:
        raise WireError("found {} tensors under {!r}; expected at most {}".format(len(value), key, limits.tensors), 413)
    return value


def text_in(holder: Dict[str, Any], key: str, default: Optional[str] = None) -> str:
    value = holder.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise WireError("found {} as {!r}; expected a string".format(shown(value), key))
    return value


def read_tensors(
    entries: List[Dict[str, Any]], rest: memoryview, limits: Limits, pause: Pause = None
) -> Dict[str, np.ndarray]:
    """The tensors that ``entries`` describe.

    Args:
        rest: the bytes after the JSON header.
        pause: see device/system/json_text.py.

    Raises:
        WireError: a tensor does not fit its description, or ``rest`` is longer or shorter than they say.
    """
    tensors: Dict[str, np.ndarray] = {}
    offset = 0
    for entry in entries:
        name = text_in(entry, "name")
        dtype, shape, count = _layout(entry, name, limits)
        size = object_in(entry, "parameters").get("binary_data_size")
        if name in tensors:
            raise WireError("found two tensors named {}; expected each name once".format(shown(name)))
        if size is None:
            tensors[name] = _from_json(entry, name, dtype, shape, count, pause)
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
    code = DTYPES.get(text_in(entry, "datatype"))
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


def _from_json(
    entry: Dict[str, Any], name: str, dtype: np.dtype, shape: Tuple[int, ...], count: int, pause: Pause
) -> np.ndarray:
    """A tensor whose elements stand in the header, as a flat or nested list."""
    data = entry.get("data")
    if not isinstance(data, list):
        raise WireError(
            "found neither data nor binary_data_size for tensor {}; expected one of them".format(shown(name))
        )
    cells = _flat(data)
    array = np.empty(count, dtype)  # no larger than Limits.body_bytes
    if len(cells) != count or not _filled(array, cells, pause):
        raise WireError(
            "found data for tensor {} that are not {} values of type {}".format(shown(name), count, entry["datatype"])
        )
    array = array.reshape(shape)
    array.flags.writeable = False
    return array


def _flat(data: List[Any]) -> List[Any]:
    """The elements of a flat or nested list; where its lists have unequal lengths there are lists among them."""
    while data and type(data[0]) is list:
        if not all(type(each) is list and len(each) == len(data[0]) for each in data):
            return data
        data = list(chain.from_iterable(data))
    return data


KINDS: Dict[str, Set[type]] = {"b": {bool}, "u": {int}, "i": {int}, "f": {int, float}}


def _filled(array: np.ndarray, cells: List[Any], pause: Pause) -> bool:
    """Write elements into an array of their number; False where one is of another type, beyond it or not finite."""
    for start in range(0, len(cells), PIECE):
        piece = cells[start : start + PIECE]
        if not set(map(type, piece)) <= KINDS[array.dtype.kind]:
            return False
        if array.dtype.kind in "ui":  # beyond them it would wrap
            limits = np.iinfo(array.dtype)
            if min(piece) < limits.min or max(piece) > limits.max:
                return False
        try:
            with np.errstate(over="ignore"):
                array[start : start + PIECE] = piece
        except (ValueError, OverflowError):  # a whole number beyond all floats
            return False
        if not np.isfinite(array[start : start + PIECE]).all():
            return False
        if pause is not None and len(cells) > PIECE:
            pause()
    return True
