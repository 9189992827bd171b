"""Makes the request for one frame in the form that is wanted."""

from typing import Iterable, List

import numpy as np

from device.bundle.reader import Bundle
from device.payload.base import Payload, Sendable
from device.payload.forms import CLASSES, FORMS, FP32

MOST_HEADER_BYTES = 8192  # of the HTTP head, a token in it, and the JSON header


def largest_request_bytes(bundle: Bundle) -> int:
    """A bound on the size of a request with one frame in any form. zlib makes nothing larger by more than a thousandth."""
    sizes = [
        sum(int(np.prod(shape)) * (4 if datatype == "FP32" else 1) for datatype, shape in form.inputs(bundle).values())
        for form in CLASSES.values()
    ]
    return int(1.001 * max(sizes)) + MOST_HEADER_BYTES


class Encoder:
    """Encodes frames. It keeps work space: an instance serves one thread."""

    def __init__(self, bundle: Bundle) -> None:
        self._forms = {name: form(bundle) for name, form in CLASSES.items()}

    def possible(self, forms: Iterable[str], frame: Sendable) -> List[str]:
        """Those of ``forms`` that a frame can be sent in."""
        return [form for form in forms if self._forms[form].can_send(frame)]

    def encode(self, frame: Sendable, threshold: np.ndarray, wanted: str = FP32) -> Payload:
        """The request for one frame. A frame that cannot have the form that is wanted gets the next larger one.

        Args:
            threshold: float32 (1, 1), the confidence from which the frame leaves at an exit of the host.
            wanted: one of FORMS.
        """
        for name in FORMS[FORMS.index(wanted) :]:
            tensors = self._forms[name].tensors(frame)
            if tensors is not None:
                return self._forms[name].payload(tensors, threshold)
        raise AssertionError("every frame can be sent as fp32")
