"""Checks a graph before ONNX Runtime reads it."""

from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError, Message

from device.bundle.reader import Bundle
from device.errors import BundleError


def read_graph(bundle: Bundle, graph: str) -> bytes:
    """The bytes of one of the bundle's graphs, of which no part lies in another file.

    ONNX lets a graph name files that hold the values of its tensors. No SHA-256 of the manifest covers those, and they are
    looked for from the folder that the program was started in.

    Raises:
        BundleError: absent, changed, or with values in another file.
    """
    model = bundle.read(graph)
    try:
        parsed = onnx.load_from_string(model)
    except DecodeError:
        return model  # ONNX Runtime says what is wrong with it
    for tensor in _tensors(parsed):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            where = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            raise BundleError(
                f"found values of tensor {tensor.name!r} of {graph} in another file ({where!r}) in bundle {bundle.path}; expected all of "
                "them in the graph, whose SHA-256 the manifest has; export the bundle again"
            )
    return model


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """All tensors of a model, wherever they are: initialisers, attributes, graphs within nodes, functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for _, value in message.ListFields():
        parts = [value] if isinstance(value, Message) else value
        if isinstance(parts, (str, bytes, int, float)) or not len(parts) or not isinstance(parts[0], Message):
            continue
        for part in parts:
            yield from _tensors(part)
