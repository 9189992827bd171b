"""What a frame that did not leave is sent as: its activation, the same as uint8, or the frame's own DCT coefficients.

==============  =====================================================================  ================================
form            tensors beside ``threshold`` FP32 (n, 1)                               Content-Encoding
==============  =====================================================================  ================================
fp32            ``activation`` FP32 (n, ...)                                           none
uint8           ``activation_uint8`` UINT8 (n, ...), ``activation_range`` FP32 (n, 2)  deflate, Huffman codes alone
coefficients    ``coefficients`` INT8 (n, 64, blocks), ``steps`` UINT8 (n, 64)         deflate
==============  =====================================================================  ================================

fp32 is what tail.onnx takes, so every server of the protocol takes it. For the others a bundle has small graphs that come
before the tail (``from_uint8``, ``from_coefficients``), and a host that has them lists the forms in the model's metadata, under
``parameters``. Not under ``inputs``: a client that fills all that stands there would send a frame in every form.

Of the blocks of an activation, of which half are zeros in most networks, Huffman codes alone take less than matches do, in
half the time. Coefficients go frequency by frequency in JPEG's zigzag order (ITU-T T.81, figure 5), of each the first colour
of all blocks, then what the next colours differ by: so zeros and repeats lie together, where deflate finds them.
"""

import zlib
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

import numpy as np

from device.bundle.reader import Bundle
from device.defence.defq import BLOCK, ZIGZAG, DefQ
from device.protocol.messages import encode_request
from device.system.json_text import read_json

FP32, UINT8, COEFFICIENTS = "fp32", "uint8", "coefficients"
FORMS = (COEFFICIENTS, UINT8, FP32)  # from the smallest
PAYLOAD_FORMS = "payload_forms"  # parameter of a model's metadata: the forms that a host takes
OUTPUTS = ("label", "confidence", "exit")
# JPEG's level shift by 128, which DefQ has not: it keeps the first coefficient of a block small
GREY = np.float32(128 * BLOCK)
LARGEST = 127  # of a coefficient in units of its step: -128 is left out so that differences modulo 256 are unique
SMALLEST_STEP = np.float32(1e-30)  # of an activation that is the same everywhere
# 85 bytes less than level 1 for some 20 us, and 6 us more than level 4; level 6 takes 20 us for another 6 bytes
LEVEL = 5
Tensors = Dict[str, np.ndarray]


class Quantised(NamedTuple):
    """An activation as whole numbers: value = values x step + lowest."""

    values: np.ndarray
    """uint8 (n, ...)."""
    range: np.ndarray
    """float32 (n, 2): each frame's lowest value, and the step."""


class Alternatives(NamedTuple):
    """What a frame may be sent as beside its activation."""

    pixels: Optional[np.ndarray] = None
    """uint8 (height, width, channels) of the network's size, before DefQ; not changed until the frame is answered."""
    table: Optional[np.ndarray] = None
    """The table that DefQ applied to this frame, float32 (8, 8); None where it was not quantised."""


NO_ALTERNATIVES = Alternatives()


class Payload(NamedTuple):
    """The body of an infer request, and what its HTTP headers must say of it."""

    form: str
    body: bytes
    header_length: int
    """For Inference-Header-Content-Length: of the JSON header before Content-Encoding."""
    encoding: str
    """For Content-Encoding; empty for none."""


def inputs_of(form: str, bundle: Bundle) -> Dict[str, Tuple[str, Tuple[int, ...]]]:
    """Datatype of the protocol and shape without the batch axis of a form's tensors, without the threshold."""
    channels, height, width = bundle.input_shape
    blocks = channels * -(-height // BLOCK) * -(-width // BLOCK)
    inputs: Dict[str, Dict[str, Tuple[str, Tuple[int, ...]]]] = {
        FP32: {"activation": ("FP32", bundle.activation_shape)},
        UINT8: {"activation_uint8": ("UINT8", bundle.activation_shape), "activation_range": ("FP32", (2,))},
        COEFFICIENTS: {"coefficients": ("INT8", (BLOCK * BLOCK, blocks)), "steps": ("UINT8", (BLOCK * BLOCK,))},
    }
    return inputs[form]


def forms_among(names: Iterable[str], bundle: Bundle, listed: Iterable[str] = ()) -> List[str]:
    """The forms that a host takes, from the smallest; fp32 in any case.

    Args:
        names: of the inputs in its metadata. Hosts of earlier releases list the tensors of all forms there.
        listed: the forms in its metadata, of ``listed_forms``.
    """
    known, forms = set(names), set(listed)
    return [form for form in FORMS if form == FP32 or form in forms or set(inputs_of(form, bundle)) <= known]


def listed_forms(metadata: bytes) -> List[str]:
    """The forms that a model's metadata lists; none where it is of a host that does not know of them."""
    try:
        return [str(form) for form in read_json(metadata)["parameters"][PAYLOAD_FORMS]]
    except (ValueError, KeyError, TypeError):
        return []


def quantised(activation: np.ndarray, levels: int) -> Quantised:
    """Quantise an activation between its lowest and its highest value, as ``restored`` and from_uint8.onnx undo it.

    Args:
        activation: float32 (n, ...).
        levels: steps between the two, 1 to 255.
    """
    rows = activation.reshape(len(activation), -1)
    lowest = rows.min(axis=1, keepdims=True)
    step = np.maximum((rows.max(axis=1, keepdims=True) - lowest) / np.float32(levels), SMALLEST_STEP)
    values = rows - lowest
    values /= step
    values = np.rint(values, out=values).astype(np.uint8).reshape(activation.shape)
    return Quantised(values, np.concatenate([lowest, step], axis=1))


def restored(packed: Quantised) -> np.ndarray:
    """The activation that the host computes with, float32 (n, ...)."""
    broadcast = (len(packed.values),) + (1,) * (packed.values.ndim - 1)
    lowest, step = (packed.range[:, column].reshape(broadcast) for column in (0, 1))
    result: np.ndarray = packed.values.astype(np.float32) * step + lowest
    return result


def steps_of(table: np.ndarray) -> Optional[np.ndarray]:
    """A table as it goes with the coefficients, uint8 (1, 64); None where a step is not whole or above 255."""
    steps = table.reshape(1, -1).astype(np.uint8)
    return steps if np.array_equal(steps, table.reshape(1, -1)) else None


def packed_coefficients(levels: np.ndarray, channels: int, steps: np.ndarray) -> Optional[np.ndarray]:
    """Coefficients in the order in which they are sent.

    Args:
        levels: of DefQ.levels, float32 (blocks, 64), the channels' blocks in turn; the first of each loses GREY.
        steps: of steps_of.

    Returns:
        int8 (1, 64, blocks); None where one is beyond -127..127: tables with steps of 9 or more have none.
    """
    levels[:, 0] -= np.rint(GREY / np.float32(steps[0, 0]))
    if np.abs(levels).max() > LARGEST:
        return None
    planes = levels.astype(np.int8).reshape(channels, -1, BLOCK * BLOCK)
    colours = planes.copy()
    colours[1:] -= planes[:-1]  # modulo 256
    return np.ascontiguousarray(colours.reshape(-1, BLOCK * BLOCK).T[ZIGZAG])[None]


class Encoder:
    """Makes payloads. Keeps work space: an instance serves one thread."""

    def __init__(self, bundle: Bundle) -> None:
        self._levels = bundle.activation_levels
        self._channels = bundle.input_shape[0]
        self._quantisers: Dict[bytes, Tuple[DefQ, Optional[np.ndarray]]] = {}

    def possible(self, forms: Iterable[str], others: Alternatives) -> List[str]:
        """Those of ``forms`` that a frame may have: coefficients only behind DefQ, with a table that fits."""
        return [form for form in forms if form != COEFFICIENTS or self._quantiser(others)[1] is not None]

    def encode(
        self, activation: np.ndarray, threshold: np.ndarray, form: str = FP32, others: Alternatives = NO_ALTERNATIVES
    ) -> Payload:
        """The request for one frame.

        Args:
            activation: float32 (1, ...), as the head gave it.
            threshold: float32 (1, 1).
            form: the one wanted. A frame that cannot have it gets the next larger one.
        """
        if form == COEFFICIENTS:
            tensors = self._coefficients(others)
            if tensors is not None:
                return _deflated(form, dict(tensors, threshold=threshold))
        if form != FP32:
            packed = quantised(activation, self._levels)
            small = {"activation_uint8": packed.values, "activation_range": packed.range, "threshold": threshold}
            return _deflated(UINT8, small)
        message = encode_request({"activation": activation, "threshold": threshold}, OUTPUTS)
        return Payload(FP32, message.body, message.header_length or 0, "")

    def _quantiser(self, others: Alternatives) -> Tuple[Optional[DefQ], Optional[np.ndarray]]:
        """For a frame's table, and that table as it is sent; None twice, or the latter, where the frame has none to send."""
        if others.table is None or others.pixels is None:
            return None, None
        key = others.table.tobytes()
        if key not in self._quantisers:
            self._quantisers[key] = DefQ(others.table), steps_of(others.table)
        return self._quantisers[key]

    def _coefficients(self, others: Alternatives) -> Optional[Tensors]:
        quantiser, steps = self._quantiser(others)
        if quantiser is None or steps is None or others.pixels is None:
            return None
        packed = packed_coefficients(quantiser.levels(others.pixels), self._channels, steps)
        return None if packed is None else {"coefficients": packed, "steps": steps}


def deflated(content: bytes, form: str) -> bytes:
    """Content-Encoding ``deflate`` (zlib's format, RFC 1950) as suits a form."""
    level, strategy = (1, zlib.Z_HUFFMAN_ONLY) if form == UINT8 else (LEVEL, zlib.Z_DEFAULT_STRATEGY)
    stream = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return stream.compress(content) + stream.flush()


def _deflated(form: str, tensors: Tensors) -> Payload:
    message = encode_request(tensors)  # all outputs: shorter than their names
    return Payload(form, deflated(message.body, form), message.header_length or 0, "deflate")
