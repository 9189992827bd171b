"""What the host says of its model, as the Open Inference Protocol has it."""

from collections.abc import Iterable, Mapping
from typing import Any

from device.bundle.reader import Bundle
from device.payload.forms import FP32, inputs_of
from device.payload.metadata import PAYLOAD_FORMS

VERSION = "1"
OF_PROGRAMS = ("user-agent", "accept", "accept-encoding")
"""Headers of which every HTTP library sends at least one. Devices of earlier releases send none."""


def model_metadata(bundle: Bundle, forms: Iterable[str], headers: Mapping[str, str]) -> dict[str, Any]:
    """The model's metadata.

    ``inputs`` lists what a request must hold or may leave out at most: the tensors of fp32, and the threshold. A client such as
    NVIDIA's fills all that is listed there, and the tensors of two payload forms exclude each other. So the other forms are
    named under ``parameters``.

    Args:
        forms: the payload forms that the host takes, from the smallest.
        headers: of the request. Devices of earlier releases look for the tensors of the other forms among ``inputs``, and get
            them there.
    """
    forms = list(forms)
    listed = [FP32] if any(name in headers for name in OF_PROGRAMS) else forms[::-1]
    inputs = [each for form in listed for each in inputs_of(form, bundle).items()]
    return {
        "name": bundle.id,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [*(_tensor(name, *each) for name, each in inputs), _tensor("threshold", "FP32", (1,))],
        "outputs": [_tensor("label", "INT64"), _tensor("confidence", "FP32"), _tensor("exit", "INT64")],
        "parameters": {PAYLOAD_FORMS: forms},
    }


def _tensor(name: str, datatype: str, shape: Iterable[int] = ()) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1, *shape]}
