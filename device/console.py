"""Text for the console: tables, and names from outside that cannot disturb a terminal."""

import io
import sys
from typing import Any, List


def printable(text: str) -> str:
    """The same text with every character escaped that a terminal would obey, or that stands for an undecodable byte.

    File names, camera names and answers of a server may hold escape sequences, line ends or marks that turn the direction
    of writing. The bytes of a name that is not in the file system's encoding appear as ``\\xe9``.
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that os.fsdecode could not decode (surrogateescape)
        return "\\x{:02x}".format(ord(character) - 0xDC00)
    return character.encode("unicode_escape").decode("ascii")


def never_fails_to_encode(stream: Any) -> Any:
    """A text stream as it is, but for characters that its encoding lacks, which it writes as escapes.

    The standard streams of a service are often ASCII; a name with an accent must not end a run there.
    """
    if getattr(stream, "errors", None) != "strict":
        return stream
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    elif type(stream) is io.TextIOWrapper:  # Python 3.6; a test's own stream stays as it is
        encoding, buffered = stream.encoding, stream.line_buffering
        return io.TextIOWrapper(stream.detach(), encoding, "backslashreplace", line_buffering=buffered)
    return stream


def warn(sentence: str) -> None:
    """Print a warning on stderr, as one line that is safe for a terminal."""
    print("warning: " + printable(sentence), file=sys.stderr, flush=True)


def aligned(table: List[List[str]]) -> str:
    """Rows of cells as lines, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))
        )
        for row in table
    )
