"""The facts that belong to every figure, and JSON."""

import json
import platform
from pathlib import Path

import torch

from export.attacks.crafting import gradients
from export.data.images import Dataset
from export.data.output import write_output


def facts(data: Dataset) -> dict[str, object]:
    """The facts that belong to every figure, ready for JSON: data, versions and machine."""
    return {
        "data": data.name,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gradients": gradients(),
        "machine": platform.machine(),
    }


def write_json(file: Path, content: object) -> None:
    """Write ``content`` as JSON that people can read.

    Raises:
        OutputError: the file cannot be written.
    """
    write_output(file, json.dumps(content, indent=1) + "\n")
