"""What native libraries print on stderr while they work: libjpeg tells of a damaged picture nowhere else."""

import os
import sys
import tempfile
import threading
from typing import BinaryIO, Callable, List, Tuple, TypeVar

Result = TypeVar("Result")
MOST_BYTES = 64 << 10  # of what is kept; the rest is noise
LIBRARIES = (
    "Corrupt JPEG data",
    "Premature end of JPEG",
    "Invalid ",
    "Warning: ",
    "> ",
    "libpng ",
    "[ERROR:",
    "[ WARN:",
    "imdecode_(",
    "OpenCV(",
)
"""How the lines of OpenCV and its decoders begin."""
_lock = threading.Lock()


def with_messages(work: Callable[[], Result]) -> Tuple[Result, List[str]]:
    """Call ``work``; what it returns, and the lines that libraries printed on stderr meanwhile.

    A process has one stderr, so that lines of its other threads arrive here too: these are passed on afterwards. Where
    stderr is closed, or there is no place for a temporary file, there are no lines.
    """
    with _lock:
        try:
            terminal, kept = os.dup(2), _memory_file()
        except OSError:
            return work(), []
        with kept:
            try:
                os.dup2(kept.fileno(), 2)
                result = work()
            finally:
                os.dup2(terminal, 2)
                os.close(terminal)
                kept.seek(0)
                lines = kept.read(MOST_BYTES).decode("utf-8", "replace").splitlines()
                others = [line for line in lines if line.strip() and not line.startswith(LIBRARIES)]
                if others:
                    print("\n".join(others), file=sys.stderr, flush=True)
    return result, [line for line in lines if line.startswith(LIBRARIES)]


def _memory_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):  # from Python 3.8 on
        return open(os.memfd_create("stderr"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
