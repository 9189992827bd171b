"""What has to be known of an ONNX file where there is no onnx package: its Protocol Buffers are walked, not decoded.

Numbers of fields are those of onnx.proto, which never change. Source of the encoding: Protocol Buffers, "Encoding".
"""

from typing import Dict, Iterator, Optional, Tuple

Span = Tuple[int, int]

GRAPH, INITIALIZER = 7, 5  # ModelProto.graph, GraphProto.initializer
NAME, DATA_LOCATION, EXTERNAL_DATA = 8, 14, 13  # of TensorProto
EXTERNAL = 1
MAX_DEPTH = 100  # of messages within each other

# message -> field -> message in it; what is not listed cannot hold a tensor
MESSAGES: Dict[str, Dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}


def external_tensor(model: bytes) -> Optional[str]:
    """The name of a tensor whose values lie in another file; None where all are in this one.

    Args:
        model: an ONNX file.

    Raises:
        ValueError: not an ONNX file with a graph.
    """
    try:
        if next(fields(model, GRAPH), None) is None:
            raise ValueError("it has no graph")
        return _external(model, (0, len(model)), "model", 0)
    except IndexError:
        raise ValueError("it ends within a field") from None


def _external(data: bytes, within: Span, message: str, depth: int) -> Optional[str]:
    if depth > MAX_DEPTH:
        raise ValueError("more than {} messages within each other".format(MAX_DEPTH))
    inner = MESSAGES[message]
    for number, _, start, end, _ in all_fields(data, within):
        kind = inner.get(number)
        if kind == "tensor":
            found = _name_if_external(data, (start, end))
        else:
            found = _external(data, (start, end), kind, depth + 1) if kind is not None else None
        if found is not None:
            return found
    return None


def _name_if_external(data: bytes, within: Span) -> Optional[str]:
    name, external = "", False
    for number, _, start, end, value in all_fields(data, within):
        if number == NAME:
            name = data[start:end].decode("utf-8", "replace")
        external = external or number == EXTERNAL_DATA or (number == DATA_LOCATION and value == EXTERNAL)
    return name if external else None


def without_initializer(model: bytes, name: str) -> bytes:
    """An ONNX file whose graph lacks the initialiser ``name``, so that the input of that name has no default any more.

    It is here for the flat head of bundles of earlier releases (device/engines/flat_head.py); this release exports none that
    needs it.

    Returns:
        ``model`` itself where there is no such initialiser.

    Raises:
        ValueError: not an ONNX file with a graph.
    """
    try:
        graph = next(fields(model, GRAPH), None)
        if graph is None:
            raise ValueError("it has no graph")
        begin, start, end = graph
        drop = [span for span in fields(model, INITIALIZER, (start, end))
                if any(model[first:last] == name.encode() for _, first, last in fields(model, NAME, span[1:]))]  # fmt: skip
    except IndexError:
        raise ValueError("it ends within a field") from None
    if not drop:
        return model
    shorter = end - start - sum(last - first for first, _, last in drop)
    kept, position = [model[:begin], bytes([GRAPH << 3 | 2]), encoded(shorter)], start
    for first, _, last in drop:
        kept.append(model[position:first])
        position = last
    return b"".join([*kept, model[position:]])


def fields(data: bytes, wanted: int, within: Optional[Span] = None) -> Iterator[Tuple[int, int, int]]:
    """Where the fields number ``wanted`` lie that have a length: start of the field, of its value, end.

    Raises:
        ValueError, IndexError: no Protocol Buffers.
    """
    for number, begin, start, end, value in all_fields(data, within or (0, len(data))):
        if number == wanted and value is None:
            yield begin, start, end


def all_fields(data: bytes, within: Span) -> Iterator[Tuple[int, int, int, int, Optional[int]]]:
    """All fields of a message: number, start of the field, of its value, end, and the value where it is a whole number of
    variable length; None where it has a length.

    Raises:
        ValueError, IndexError: no Protocol Buffers.
    """
    position, end = within
    while position < end:
        begin = position
        tag, position = varint(data, position)
        kind = tag & 7
        value: Optional[int] = -1
        start = position
        if kind == 0:
            value, position = varint(data, position)
        elif kind == 2:
            size, start = varint(data, position)
            value, position = None, start + size
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            raise ValueError("wire type {}".format(kind))
        if position > end:
            raise ValueError("a field beyond the end")
        yield tag >> 3, begin, start, position, value


def varint(data: bytes, position: int) -> Tuple[int, int]:
    """A whole number of variable length at ``position``, and where it ends.

    Raises:
        ValueError, IndexError: there is none.
    """
    value = shift = 0
    while shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
    raise ValueError("a number of more than ten bytes")


def encoded(value: int) -> bytes:
    """A whole number of variable length, as bytes."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])
