"""Which parts of the project may import which others."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def imported_modules(folder):
    """(file, module) for every import statement below ``folder``."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((file, each.name) for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield file, node.module


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("device", "bench"),
        ("export", "bench"),
        ("host", "bench"),
        ("export/calibration", "export.evaluation"),
        ("export/defences", "export.evaluation"),
        ("export/networks", "export.evaluation"),
    ],
)
def test_no_module_imports_from_there(folder, forbidden):
    found = [(str(file), name) for file, name in imported_modules(folder) if (name + ".").startswith(forbidden + ".")]
    assert found == []
