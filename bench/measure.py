"""What every measurement prints: facts about the machine, and tables in Markdown."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Facts about the machine, without which a figure means little."""
    packages = {}
    for name in (
        "numpy",
        "onnxruntime",
        "opencv-python-headless",
        "scipy",
        "pillow",
        "simplejpeg",
        "starlette",
        "uvicorn",
    ):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "absent"
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "machine": platform.machine(),
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": packages,
    }


def table(rows: list[list[str]]) -> str:
    """Rows of cells as Markdown, the first row as the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
