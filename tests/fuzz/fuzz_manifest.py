"""A bundle's folder, its hashes right. Input: manifest.json, NUL, table.json, NUL, labels.txt; what is missing is the tiny bundle's."""

import hashlib
import json
import os
from pathlib import Path

from device.bundle.reader import load_bundle
from device.errors import EdgeError
from tests.fuzz import BUNDLE, scratch

KEPT = {each.name: each.read_bytes() for each in BUNDLE.iterdir()}
_HOLDER = scratch()
FOLDER = Path(_HOLDER.name)
for _name, _content in KEPT.items():
    (FOLDER / _name).write_bytes(_content)


def check(data: bytes) -> None:
    manifest, *others = data.split(b"\0", 2)
    table, labels = (others + [KEPT["table.json"], KEPT["labels.txt"]][len(others) :])[:2]
    files = {
        "manifest.json": _hashed(manifest, {"table.json": table, "labels.txt": labels}),
        "table.json": table,
        "labels.txt": labels,
    }
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
    try:
        bundle = load_bundle(str(FOLDER))
        for graph in ("head", "head_flat", "tail"):
            assert bundle.read(graph) in KEPT.values()
        bundle.threshold(bundle.default_rad)
    except EdgeError as error:
        assert str(error).isprintable(), "a line of its own, or an escape sequence"
        assert len(str(error)) < 2000
        return
    assert 1 <= bundle.split < len(bundle.relative_costs)
    assert all(0 < cost <= 1 + 1e-6 for cost in bundle.relative_costs)
    assert all(0 <= value <= 1 for value in bundle.thresholds.values())
    assert len(bundle.labels) >= 2
    assert bundle.id.isprintable()
    assert bundle.id.isascii()
    assert not set("{} /") & set(bundle.id), "it becomes part of a request and of a format string"
    assert bundle.table.shape == (8, 8)
    assert set(os.listdir(FOLDER)) == set(KEPT)


def _hashed(manifest: bytes, files: dict[str, bytes]) -> bytes:
    """The manifest with the SHA-256 of these files in it, where it is one: a fuzzer does not guess hashes."""
    try:
        content = json.loads(manifest)
        for name, each in files.items():
            content["files"][name]["sha256"] = hashlib.sha256(each).hexdigest()
        return json.dumps(content).encode()
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return manifest
