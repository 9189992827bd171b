"""Fuzzing of everything that reads bytes which others wrote.

Each module ``fuzz_NAME`` has a ``check(data)`` that raises only when the reader under it is wrong. It needs no fuzzer:
tests/fuzz/test_corpus.py calls it with the committed corpus, ``python -m tests.fuzz`` with what atheris thinks of.
"""

import atexit
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
CORPUS = FOLDER / "corpus"
BUNDLE = FOLDER.parent / "device" / "data" / "tiny_bundle"
TARGETS = (
    "wire_request",
    "wire_response",
    "answer",
    "manifest",
    "archive",
    "table_file",
    "frame_set",
    "encoding",
    "http",
)


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """A folder that goes with the process; in memory where there is such a place, since disks are 20 times slower."""
    memory = Path("/dev/shm")
    folder = tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if memory.is_dir() else None)
    atexit.register(folder.cleanup)
    return folder
