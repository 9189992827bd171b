"""Where decisions go: JSON lines in a file or on stdout."""

import json
import sys
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from device.cameras.base import Frame
from device.errors import OutputError
from device.loop.line_file import LineFile
from device.system.console import check_stdout, put


class Decision(NamedTuple):
    """What was decided on a frame."""

    index: int  # type: ignore[assignment]
    label_id: int
    label: str
    confidence: float
    """Maximum of the softmax at the exit that answered, 0..1."""
    exit: int
    """1-based exit that answered; for a fallback the last device exit."""
    source: str
    """``edge``: the frame left on the device. ``host``: the host answered. ``fallback``: the frame stayed, but no host answered it,
    so that the answer is that of the last device exit; ``capped`` tells whether the ceiling is the reason."""
    ms: Dict[str, float]
    """Milliseconds by stage: capture, resize, defq, head, and where they apply host and ``order``, the wait for earlier frames.
    ``total`` runs from the camera's hand-over to the decision, and with a live camera ``age`` from the sensor's exposure."""
    bytes_sent: int
    """Bytes written to the host's socket for this frame, HTTP headers included."""
    truth: Optional[int] = None
    """The frame's label where its source knows it."""
    quantised: bool = False
    """Whether DefQ was applied to the frame."""
    attacked: Optional[bool] = None
    """Whether the gate counted the frame as attacked; None without the gate."""
    payload: Optional[str] = None
    """The payload form in which the frame was sent: fp32, uint8 or coefficients; None where nothing was sent."""
    capped: bool = False
    """Whether the frame is a fallback because the ceiling kept it from being sent."""
    twin: bool = False
    """Whether the hardened twin answered. ``exit`` is one of its exits then."""


def to_line(decision: Decision) -> str:
    """A decision as one line of JSON, without the line end."""
    fields: Dict[str, Any] = {
        "index": decision.index,
        "label": decision.label,
        "label_id": decision.label_id,
        "confidence": round(decision.confidence, 6),
        "exit": decision.exit,
        "source": decision.source,
        "ms": {stage: round(value, 3) for stage, value in decision.ms.items()},
        "bytes_sent": decision.bytes_sent,
        "defq": decision.quantised,
    }
    if decision.payload is not None:
        fields["payload"] = decision.payload
    if decision.attacked is not None:
        fields["attacked"] = decision.attacked
    if decision.truth is not None:
        fields["truth"] = decision.truth
    if decision.capped:
        fields["capped"] = True
    if decision.twin:
        fields["twin"] = True
    return json.dumps(fields)


class Sink:
    """Takes decisions in frame order. This class drops them; others derive from it."""

    def write(self, decision: Decision, frame: Frame, pixels: np.ndarray) -> None:
        """Take one decision. A full disk raises nothing, so that it does not stop a camera.

        Args:
            decision: on this frame.
            frame: as the camera gave it.
            pixels: the frame at the network's size before its treatment, uint8 (height, width, channels).
        """

    def close(self) -> None:
        """Write what is still held back, and close what is open.

        Raises:
            OutputError: decisions could not be written to the place that was asked for.
        """


class JsonLinesSink(Sink):
    """Appends one line of JSON for each decision to a file.

    When the file cannot be written any more (the disk is full or gone), the lines that are not in the file and all later lines
    go to stdout, so that no decision is lost. ``close`` raises an error then.

    Args:
        name: file name, or ``-`` for stdout.
        line_buffered: write every line at once, for live cameras; otherwise lines are written in blocks of 64.

    Raises:
        OutputError: the file cannot be opened, or another process writes to it.
    """

    def __init__(self, name: str, line_buffered: bool = False) -> None:
        if name == "-":
            check_stdout("--jsonl -")
        self.name = name
        self._line_buffered = line_buffered
        self._pending: List[bytes] = []  # lines that are not known to be written
        self._file = None if name == "-" else LineFile(name, "--jsonl")  # None is stdout
        self._reopens = False
        self._problem = ""
        self._stdout_failed = False
        self._lost = 0

    def write(self, decision: Decision, frame: Frame, pixels: np.ndarray) -> None:
        self._pending.append((to_line(decision) + "\n").encode("ascii"))
        if self._line_buffered or self._reopens or len(self._pending) >= 64:
            self._flush()

    def reopen(self) -> None:
        """Open the file by its name again before the next decision is written, because log rotation has moved it away. A signal
        handler may call this."""
        self._reopens = self.name != "-"

    def _flush(self) -> None:
        if self._reopens:
            self._reopens = False
            self._write_pending()  # earlier decisions belong into the file that was moved away
            self._open_again()
        self._write_pending()

    def _open_again(self) -> None:
        if self._file is not None and self._file.is_current():
            return
        try:
            fresh = LineFile(self.name, "--jsonl")
        except OutputError as error:
            print(
                "warning: {}; until then decisions go where they went before".format(error), file=sys.stderr, flush=True
            )
            return
        if self._file is not None:
            self._file.close()
        self._file = fresh

    def _write_pending(self) -> None:
        if self._file is not None:
            try:
                self._file.write(self._pending)
            except BrokenPipeError:
                raise  # the reader has seen enough: the run ends
            except OSError as error:
                self._leave_file(error)
        if self._file is None and self._pending:
            self._print_pending()

    def _leave_file(self, error: OSError) -> None:
        assert self._file is not None
        self._problem = error.strerror or str(error)
        print("warning: could not write {} ({}); decisions go to stdout from here on; free space on that disk".format(
            self.name, error.strerror), file=sys.stderr, flush=True)  # fmt: skip
        try:
            self._file.close()
        except OSError:
            pass  # nothing was left in it
        self._file = None

    def _print_pending(self) -> None:
        lines, self._pending = self._pending, []
        if not self._stdout_failed:
            try:
                check_stdout("decisions")
                put(b"".join(lines).decode("ascii"))
                return
            except OutputError as error:
                self._stdout_failed = True
                self._problem = self._problem or getattr(error.__cause__, "strerror", "it is closed")
                print("warning: {}; decisions are lost from here on".format(error), file=sys.stderr, flush=True)
        self._lost += len(lines)

    def close(self) -> None:
        self._flush()
        if self._file is not None:
            self._file.close()
        if self._lost:
            raise OutputError("could not write {} or stdout ({}); {} decisions are in neither; free space there".format(
                self.name, self._problem, self._lost))  # fmt: skip
        if self._problem:
            raise OutputError("could not write {} ({}); the decisions that are not in it were printed on stdout; free space "
                              "on that disk".format(self.name, self._problem))  # fmt: skip
