"""A bundle as an archive. Input: ``z`` and the bytes of a .tar.gz, or else anything and the bytes of a .tar."""

import gzip
from pathlib import Path

from device.bundle import reader as bundle
from device.bundle.reader import load_bundle
from device.errors import EdgeError
from tests.fuzz import scratch

bundle.MAX_FILE_BYTES = 1 << 20  # so that what grows beyond the limit is seen without a gigabyte
_HOLDER = scratch()
PATH = Path(_HOLDER.name) / "bundle.tar.gz"


def check(data: bytes) -> None:
    PATH.write_bytes(data[1:] if data[:1] == b"z" else gzip.compress(data[1:], 1, mtime=0))
    try:
        found = load_bundle(str(PATH))
        for graph in found.graphs:
            found.read(graph)
    except EdgeError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 2000
    assert [each.name for each in PATH.parent.iterdir()] == [PATH.name], "something was unpacked"
