"""What every payload form offers: the form of the tensors in which a frame goes to the host.

A new form takes two files: a module in device/payload/forms, named as the form, with its class; and a file of the same
name in export/onnx/forms, with the graph that the host runs before the tail and its check.
"""

import zlib
from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np

from device.bundle.reader import Bundle
from device.protocol.messages import Encoded, encode_request

Tensors = Dict[str, np.ndarray]
TensorTypes = Dict[str, Tuple[str, Tuple[int, ...]]]
"""Name of a tensor -> its datatype in the protocol, and its shape without the batch axis."""

OUTPUTS = ("label", "confidence", "exit")
"""The tensors of the host's answer."""
HEADER_BYTES = 700  # of the HTTP head and the JSON header, rather too many than too few


class Sendable(NamedTuple):
    """What is known of one frame that may be sent. The arrays must not change until the frame is answered."""

    activation: np.ndarray
    """float32 (1, ...), as the head gave it."""
    pixels: Optional[np.ndarray] = None
    """uint8 (height, width, channels) of the network's size, before DefQ."""
    table: Optional[np.ndarray] = None
    """The table with which DefQ quantised this frame, float32 (8, 8); None where it was not quantised."""


class Payload(NamedTuple):
    """A request that is ready to be sent."""

    form: str
    message: Encoded
    """Its ``header_length`` is that of the JSON header before it was compressed."""
    content_encoding: str
    """For the HTTP header of that name; empty for none."""


class PayloadForm:
    """Base of the payload forms. An instance may keep work space: it serves one thread.

    Args:
        bundle: whose frames are sent.
    """

    name = ""
    """In --payload, in the model's metadata and in JSON lines. The host's graph for the form is from_NAME.onnx."""
    bits_per_number = 0.0
    """On the wire, roughly, for each number of its tensors. The forms are ordered by it, and sizes are estimated from it."""
    level, strategy = 5, zlib.Z_DEFAULT_STRATEGY
    """Of zlib, with which the body is compressed."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @classmethod
    def inputs(cls, bundle: Bundle) -> TensorTypes:
        """The tensors of this form, without the threshold that goes with every form."""
        raise NotImplementedError

    @classmethod
    def estimated_bytes(cls, bundle: Bundle) -> float:
        """The size of a request before one was sent."""
        numbers = sum(int(np.prod(shape)) for _, shape in cls.inputs(bundle).values())
        return numbers * cls.bits_per_number / 8 + HEADER_BYTES

    def can_send(self, frame: Sendable) -> bool:
        """Whether frames like this one have this form. ``tensors`` may still find one that does not fit."""
        return True

    def tensors(self, frame: Sendable) -> Optional[Tensors]:
        """The tensors of one frame, (1, ...) each; None where the frame cannot have this form."""
        raise NotImplementedError

    def payload(self, tensors: Tensors, threshold: np.ndarray) -> Payload:
        """The request with the given tensors.

        Args:
            threshold: float32 (1, 1), the confidence from which the frame leaves at an exit of the host.
        """
        message = encode_request(
            dict(tensors, threshold=threshold)
        )  # asks for all outputs, which is shorter than their names
        return Payload(self.name, Encoded(self.deflated(message.body), message.header_length), "deflate")

    @classmethod
    def deflated(cls, content: bytes) -> bytes:
        """Content-Encoding ``deflate``, which is zlib's format (RFC 1950)."""
        stream = zlib.compressobj(cls.level, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, cls.strategy)
        return stream.compress(content) + stream.flush()
