"""fp32: a frame's activation as the head gave it."""

import numpy as np

from device.bundle.reader import Bundle
from device.payload.base import OUTPUTS, Payload, PayloadForm, Sendable, Tensors, TensorTypes
from device.protocol.messages import encode_request


class Fp32(PayloadForm):
    """The activation as float32, without compression."""

    name = "fp32"
    bits_per_number = 32

    @classmethod
    def inputs(cls, bundle: Bundle) -> TensorTypes:
        return {"activation": ("FP32", bundle.activation_shape)}

    def tensors(self, frame: Sendable) -> Tensors:
        return {"activation": frame.activation}

    def payload(self, tensors: Tensors, threshold: np.ndarray) -> Payload:
        message = encode_request(
            dict(tensors, threshold=threshold), OUTPUTS
        )  # named, as every server of the protocol takes it
        return Payload(self.name, message, "")
