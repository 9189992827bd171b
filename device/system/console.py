"""The process's own streams, how a command ends, and tables for the console."""

import contextlib
import os
import re
import sys
import traceback
from typing import Any, Callable, List, Optional, Set

from device.errors import EdgeError, OutputError
from device.system.printable import printable

BETWEEN_LINES = re.compile(r"[^\n\r\t]+")  # a progress bar goes back to the start of its line

_ABSENT: Set[str] = set()
"""Streams that this process was started without."""


def open_streams() -> None:
    """Give a process that was started without stdin, stdout or stderr (``>&-``) one that leads nowhere.

    Without that the next file or socket that is opened gets the free number, and whatever a library prints to stdout or
    stderr ends up in it. To be called before libraries open files of their own.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            _ABSENT.add(name)
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))  # noqa: SIM115


class Messages:
    """A stream for stderr that drops what cannot be written: a full disk under the log must not stop a camera or a host.

    Whatever a message holds, no escape sequence reaches the terminal.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(BETWEEN_LINES.sub(lambda line: printable(line.group()), text))
        except OSError:
            pass
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Output:
    """A stream for stdout. Words that cannot be written must not stop the work that they tell of: from the first failure on
    all is dropped, and ``run_command`` reports it at the end. Letters that the encoding lacks are written as escapes.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.problem: Optional[OSError] = None
        """The first failure; a BrokenPipeError where the reader has gone away."""

    def write(self, text: str) -> int:
        try:
            if self.problem is None:
                self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        try:
            if self.problem is None:
                self.stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.problem = error
        # what the stream still holds would be written once more at Python's end, and fail with a traceback
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream without a file behind it
            number = self.stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def put(text: str) -> None:
    """Write data to stdout, for another program to read.

    Raises:
        BrokenPipeError: the reader has gone away; OutputError: another failure.
    """
    out = sys.stdout if isinstance(sys.stdout, Output) else Output(sys.stdout)
    out.write(text)
    out.flush()
    if isinstance(out.problem, BrokenPipeError):
        raise out.problem
    if out.problem is not None:
        raise _unwritable(out.problem) from out.problem


def _unwritable(error: OSError) -> OutputError:
    return OutputError("could not write to stdout ({}); expected a terminal, a pipe or a file with space left; free space "
                       "there".format(error.strerror))  # fmt: skip


def check_stdout(option: str) -> None:
    """Refuse to write what was asked for to a stdout that is not there.

    Args:
        option: that asked for it, as in ``--jsonl -``.

    Raises:
        OutputError: the process was started without one.
    """
    if "stdout" in _ABSENT:
        raise OutputError("found no stdout for {}; expected an open one; name a file instead".format(option))


def run_command(command: Callable[[], int], debug: bool = False) -> int:
    """Run a command line's body; turn an EdgeError into one sentence on stderr and its exit code.

    Ctrl-C gives 130, a closed pipe on stdout gives 0. With ``debug`` the traceback is printed as well.
    """
    open_streams()
    if not isinstance(sys.stderr, Messages):
        sys.stderr = Messages(sys.stderr)  # type: ignore[assignment]
    out = sys.stdout = Output(sys.stdout.stream if isinstance(sys.stdout, Output) else sys.stdout)  # type: ignore[assignment]
    code = 0
    try:
        code = command()
    except EdgeError as error:
        code = _tell(error, debug)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        pass
    finally:
        out.flush()
    if code == 0 and out.problem is not None and not isinstance(out.problem, BrokenPipeError):
        code = _tell(_unwritable(out.problem), debug)
    return code


def _tell(error: EdgeError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print("error: {}".format(error), file=sys.stderr, flush=True)
    return error.exit_code


def warn(sentence: str) -> None:
    """Print a warning on stderr, as one line that is safe for a terminal."""
    print("warning: " + printable(sentence), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time for people: 8 s, 3 min, 1 h 20 min."""
    if seconds < 59.5:
        return "{} s".format(max(1, round(seconds)))
    minutes = round(seconds / 60)
    return "{} min".format(minutes) if minutes < 60 else "{} h {} min".format(minutes // 60, minutes % 60)


def aligned(table: List[List[str]]) -> str:
    """Rows of cells as lines, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))
        )
        for row in table
    )
