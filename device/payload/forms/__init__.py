"""The payload forms. A form is a file here, whose one class is found by its name, and one in export/onnx/forms.

==============  =====================================================================  ================================
form            tensors beside ``threshold`` FP32 (n, 1)                               Content-Encoding
==============  =====================================================================  ================================
fp32            ``activation`` FP32 (n, ...)                                           none
uint8           ``activation_uint8`` UINT8 (n, ...), ``activation_range`` FP32 (n, 2)  deflate, Huffman codes alone
coefficients    ``coefficients`` INT8 (n, 64, blocks), ``steps`` UINT8 (n, 64)         deflate
==============  =====================================================================  ================================

The tail takes fp32, so every server of the protocol does. For each other form a bundle has a small graph that comes before
the tail. A host that has these graphs lists their forms in the model's metadata, under ``parameters``. They do not stand under
``inputs``, because a client that fills everything listed there would send a frame in every form at once.
"""

import importlib
import pkgutil
from typing import Dict, Type

from device.bundle.reader import Bundle
from device.payload.base import PayloadForm, TensorTypes
from device.payload.forms.fp32 import Fp32


def _found() -> Dict[str, Type[PayloadForm]]:
    classes = []
    for module in pkgutil.iter_modules(__path__):
        content = vars(importlib.import_module(__name__ + "." + module.name)).values()
        classes += [each for each in content if isinstance(each, type) and issubclass(each, PayloadForm) and each.name]
    return {each.name: each for each in sorted(classes, key=lambda each: each.bits_per_number)}


CLASSES = _found()
"""Name of each form -> its class, from the smallest form to the largest."""
FORMS = tuple(CLASSES)
"""The names of the forms, from the smallest to the largest."""
FP32 = Fp32.name
"""The form that every host takes."""


def inputs_of(form: str, bundle: Bundle) -> TensorTypes:
    """The tensors of a form, without the threshold that goes with every form."""
    return CLASSES[form].inputs(bundle)
