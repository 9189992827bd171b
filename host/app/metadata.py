"""The description of the model that the host gives its clients, in the form of the Open Inference Protocol."""

from collections.abc import Iterable, Mapping
from typing import Any

from device.bundle.reader import Bundle
from device.payload.forms import FP32, inputs_of
from device.payload.metadata import PAYLOAD_FORMS

VERSION = "1"
LIBRARY_HEADERS = ("user-agent", "accept", "accept-encoding")
"""Every HTTP library sends at least one of these headers. Devices of earlier releases send none."""


def model_metadata(bundle: Bundle, forms: Iterable[str], headers: Mapping[str, str]) -> dict[str, Any]:
    """Metadata of the model.

    ``inputs`` lists the tensors of one payload form, fp32, and the threshold, which a request may leave out. Clients such as
    NVIDIA's fill all tensors that are listed there, and a request can hold the tensors of one form only. So the other forms are
    named under ``parameters``.

    Args:
        forms: the payload forms that the host accepts, from the smallest.
        headers: those of the request. A device of an earlier release looks for the tensors of the other forms among ``inputs``;
            it is recognised by its headers and gets them there.
    """
    forms = list(forms)
    listed = [FP32] if any(name in headers for name in LIBRARY_HEADERS) else forms[::-1]
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
