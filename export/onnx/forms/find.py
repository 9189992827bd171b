"""Finds the graph and the check of each payload form: a file of this folder for each of device/payload/forms but fp32."""

import importlib
from collections.abc import Iterator
from typing import Protocol, cast

from onnx import ModelProto

from device.payload.forms import FORMS, FP32
from export.onnx.forms.base import Case, Restoration
from export.onnx.parts import ExportedBlocks


class FormModule(Protocol):
    """What the file of a form has (export/onnx/forms/base.py)."""

    def graph(self, exported: ExportedBlocks, split: int, input_shape: tuple[int, ...]) -> ModelProto: ...

    def restorations(self, case: Case) -> Iterator[Restoration]: ...


def form_modules() -> dict[str, FormModule]:
    """The name of each form but fp32, which the tail takes as it is -> its file, from the largest form to the smallest."""
    names = [form for form in reversed(FORMS) if form != FP32]
    return {name: cast(FormModule, importlib.import_module(f"export.onnx.forms.{name}")) for name in names}


def form_graphs(exported: ExportedBlocks, split: int, input_shape: tuple[int, ...]) -> dict[str, ModelProto]:
    """The graph of each payload form but fp32, by its name in a bundle."""
    return {f"from_{form}": module.graph(exported, split, input_shape) for form, module in form_modules().items()}
