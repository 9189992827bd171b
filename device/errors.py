"""Every error this package raises on purpose. Each says what was found, what was expected and what to do.

Command lines print that one sentence and leave with ``exit_code``:
0 done, 2 usage, 3 bad input, 4 hardware missing, 5 host unreachable when it was required.

    EdgeError
    +-- UsageError           2  an option or address that cannot work
    +-- InputError           3
    |   +-- BundleError         a bundle that is incomplete, changed or of another version
    |   +-- DataError           images, labels, tables or weights that cannot be used
    |   +-- FrameError          a frame of the wrong shape, type or content
    |   +-- WireError           a message that breaks the protocol (``status`` is the HTTP status to answer with)
    |   +-- OutputError         a result that cannot be written
    +-- HardwareError        4
    |   +-- CameraError         a source that cannot be opened or stopped giving frames
    |   +-- EngineError         an inference engine that cannot load or run a graph
    +-- HostError            5  the host is absent, answers late or answers garbage
"""

import re
import sys
import traceback
from typing import Any, Callable

from device.console import never_fails_to_encode, printable


class EdgeError(Exception):
    """Base of all errors here; ``str(error)`` is one sentence for the person at the console.

    Whatever a name or an answer from outside puts into it, it stays one line without escape sequences.
    """

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(EdgeError):
    exit_code = 2


class InputError(EdgeError):
    exit_code = 3


class BundleError(InputError):
    pass


class DataError(InputError):
    pass


class FrameError(InputError):
    pass


class WireError(InputError):
    """A protocol message that is malformed or beyond the limits."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class OutputError(InputError):
    pass


class HardwareError(EdgeError):
    exit_code = 4


class CameraError(HardwareError):
    pass


class EngineError(HardwareError):
    pass


class HostError(EdgeError):
    exit_code = 5


BETWEEN_LINES = re.compile(r"[^\n\r\t]+")  # a progress bar goes back to the start of its line


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


def run_command(command: Callable[[], int], debug: bool = False) -> int:
    """Run a command line's body; turn an EdgeError into one sentence on stderr and its exit code.

    Ctrl-C gives 130, a closed pipe on stdout gives 0. With ``debug`` the traceback is printed as well.
    """
    if not isinstance(sys.stderr, Messages):
        sys.stderr = Messages(sys.stderr)  # type: ignore[assignment]
    sys.stdout = never_fails_to_encode(sys.stdout)
    try:
        return command()
    except EdgeError as error:
        if debug:
            traceback.print_exc()
        print("error: {}".format(error), file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # Python would complain once more while it flushes the closed pipe
        return 0
