"""Which payload forms a host takes, as it says in the metadata of its model."""

from typing import List

from device.bundle.reader import Bundle
from device.payload.forms import FORMS, FP32, inputs_of
from device.system.json_text import read_json

PAYLOAD_FORMS = "payload_forms"
"""The parameter of the metadata that lists the forms."""


def forms_taken(metadata: bytes, bundle: Bundle) -> List[str]:
    """The forms that a host takes for a bundle, from the smallest; fp32 in any case, and none that this release does not know.

    Hosts of earlier releases do not list forms; they list the tensors of all their forms under ``inputs``.

    Args:
        metadata: JSON of the Open Inference Protocol.

    Raises:
        ValueError: it is not the metadata of this bundle's model.
    """
    content = read_json(metadata)
    try:
        if content["name"] != bundle.id:
            raise ValueError("the metadata is of another model")
        names = {str(each["name"]) for each in content.get("inputs") or []}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it has no name, or inputs without names") from error
    listed = _listed(content)
    return [form for form in FORMS if form == FP32 or form in listed or set(inputs_of(form, bundle)) <= names]


def _listed(content: object) -> List[str]:
    """The forms that metadata lists; none where the host does not know of them."""
    try:
        return [str(form) for form in content["parameters"][PAYLOAD_FORMS]]  # type: ignore[index]
    except (KeyError, TypeError):
        return []
