"""What the graph of a payload form and its check are made of.

The file of a form has two functions, which export/onnx/forms/find.py and export/onnx/parity_forms.py call:

* ``graph(exported, split, input_shape) -> ModelProto``: from the tensors of the form to ``activation``.
* ``restorations(case) -> Iterator[Restoration]``: what that graph makes of some frames, checked.
"""

from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from export.onnx.parity import without_defq
from export.onnx.parts import GraphPart, constant

FLOAT, UINT8, INT8 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8
Step = tuple[str, list[str], str, dict[str, Any]]  # operator, inputs, output, attributes


def part(prefix: str, steps: list[Step], weights: dict[str, np.ndarray], kept: dict[str, str]) -> GraphPart:
    """Nodes whose tensors get ``prefix`` before their names. kept: name here -> name in the graph, for all others."""

    def named(name: str) -> str:
        return kept.get(name, prefix + name)

    nodes = [
        helper.make_node(operator, [named(each) for each in inputs], [named(output)], **attributes)
        for operator, inputs, output, attributes in steps
    ]
    return GraphPart(nodes, [constant(prefix + name, values) for name, values in weights.items()])


class Case(NamedTuple):
    """What a form is checked with.

    graph: of the form. head: the session of the nested head. steps: the table of DefQ, (8, 8). levels: of an activation as
    uint8, as in the manifest. frames: uint8 (n, h, w, c). origin: names the frames in messages.
    """

    graph: onnx.ModelProto
    head: onnxruntime.InferenceSession
    steps: np.ndarray
    levels: int
    frames: np.ndarray
    origin: str

    def activation(self, image: np.ndarray) -> np.ndarray:
        """The activation of an image float32 (1, c, h, w), with a threshold at which no frame leaves."""
        feed = {"image": image, "threshold": np.full(1, 2, np.float32), **without_defq(self.head)}
        found: np.ndarray = self.head.run(["activation"], feed)[0]
        return found


class Restoration(NamedTuple):
    """An activation of the head and what a form makes of it, each float32 (1, ...).

    bound: by how much a value of ``restored`` may differ from that of ``activation``. It was checked.
    """

    activation: np.ndarray
    restored: np.ndarray
    bound: float
