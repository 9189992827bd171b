"""Where decisions go: JSON lines in a file or on stdout."""

import io
import json
import os
import sys
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from device.cameras import Frame
from device.errors import OutputError


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
    """``edge``: left on the device. ``host``: the host answered. ``fallback``: it did not, the last device exit stands in."""
    ms: Dict[str, float]
    """Milliseconds a stage (capture, resize, defq, head, host) and ``total``: from the camera's hand-over to now; with a
    live camera also ``age``: from the sensor's exposure to now."""
    bytes_sent: int
    """Bytes written to the host's socket for this frame, HTTP headers included."""
    truth: Optional[int] = None
    """The frame's label where its source knows it."""
    quantised: bool = False
    """Whether DefQ was applied to the frame."""
    attacked: Optional[bool] = None
    """Whether the gate counted the frame as attacked; None without the gate."""
    payload: Optional[str] = None
    """The form it was sent in: fp32, uint8 or coefficients; None where nothing was sent."""


def to_line(decision: Decision) -> str:
    """A decision as one line of JSON, without its end."""
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
    return json.dumps(fields)


class Sink:
    """Takes decisions in frame order. This one drops them."""

    def write(self, decision: Decision, frame: Frame, pixels: np.ndarray) -> None:
        """Take one decision; never raises, so that a full disk does not stop a camera.

        Args:
            decision: on this frame.
            frame: as the camera gave it.
            pixels: what the network was to see of it, before DefQ: uint8 (height, width, channels) of its input.
        """

    def close(self) -> None:
        """Finish.

        Raises:
            OutputError: something could not be written where it should have gone.
        """


class JsonLinesSink(Sink):
    """One line of JSON a decision.

    When the file cannot be written (disk full, disk gone) the lines that did not get there and all later ones go to
    stdout, so that no decision is lost, and ``close`` raises.

    Args:
        name: file name, or ``-`` for stdout.
        line_buffered: write every line through at once (live cameras); otherwise in blocks.

    Raises:
        OutputError: the file cannot be opened.
    """

    def __init__(self, name: str, line_buffered: bool = False) -> None:
        self.name = name
        self._line_buffered = line_buffered
        self._pending: List[str] = []  # lines that are not known to be written
        self._problem: Optional[OSError] = None
        self._lost = 0
        try:
            # unbuffered: it is known what got there; None is stdout
            self._file: Optional[io.FileIO] = None if name == "-" else open(name, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise OutputError("could not open {} ({}); expected a file that can be written; choose another --jsonl".format(
                name, error.strerror)) from error  # fmt: skip

    def write(self, decision: Decision, frame: Frame, pixels: np.ndarray) -> None:
        self._pending.append(to_line(decision) + "\n")
        if self._line_buffered or len(self._pending) >= 64:
            self._flush()

    def _flush(self) -> None:
        lines, self._pending = self._pending, []
        if self._lost:
            self._lost += len(lines)
            return
        try:
            if self._file is None:
                sys.stdout.write("".join(lines))
                sys.stdout.flush()
            else:
                self._write_through(lines)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise  # the reader has seen enough: the run ends
            if self._file is None:
                self._no_place_left(error, len(lines))
                return
            self._problem = error
            print("warning: could not write {} ({}); decisions go to stdout from here on; free space on that disk".format(
                self.name, error.strerror), file=sys.stderr, flush=True)  # fmt: skip
            try:
                self._file.close()
            except OSError:
                pass  # nothing was left in it
            self._file = None
            self._pending = lines
            self._flush()

    def _write_through(self, lines: List[str]) -> None:
        """Write to the file; what got there whole is taken out of ``lines``, so that it is not printed a second time."""
        file = self._file
        assert file is not None
        content = "".join(lines).encode("ascii")
        done = 0
        try:
            while done < len(content):
                done += file.write(content[done:]) or 0
        finally:
            del lines[: content.count(b"\n", 0, done)]

    def _no_place_left(self, error: OSError, count: int) -> None:
        """stdout cannot be written either: count what is lost and go on deciding."""
        if not self._lost:
            print("warning: could not write to stdout ({}); decisions are lost from here on; free space there".format(
                error.strerror), file=sys.stderr, flush=True)  # fmt: skip
            # Python would try once more at its end, and fail with a traceback
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        self._lost += count
        self._problem = self._problem or error

    def close(self) -> None:
        self._flush()
        if self._lost and self._problem is not None:
            raise OutputError("could not write {} or stdout ({}); {} decisions are in neither; free space there".format(
                self.name, self._problem.strerror, self._lost))  # fmt: skip
        if self._file is not None:
            self._file.close()
        if self._problem is not None:
            raise OutputError("could not write {} ({}); the decisions that are not in it were printed on stdout; free space "
                              "on that disk".format(self.name, self._problem.strerror))  # fmt: skip
