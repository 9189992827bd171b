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
    |   +-- MissingPartError    a part of this project, or a library of one, that is not installed
    +-- HostError            5  the host is absent, answers late or answers garbage
        +-- AccessError         the host is there, but host and device do not trust each other
        +-- CappedError         the ceiling does not pay for the bytes of a request
"""

from device.system.printable import printable


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


class MissingPartError(HardwareError):
    pass


class HostError(EdgeError):
    exit_code = 5


class AccessError(HostError):
    pass


class CappedError(HostError):
    pass
