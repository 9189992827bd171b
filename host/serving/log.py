"""Lines on stderr: as text, or as JSON for those who collect them. A host answers whatever becomes of its lines."""

import contextlib
import io
import json
import logging
import os
import re
import select
import sys
import time
from typing import Any, TextIO

from device.system.json_text import shown
from host.serving.request_log import RequestLog

PLAIN = re.compile(r"[\w.:-]{1,64}", re.ASCII)
PIECE_BYTES = 4096  # a pipe that takes anything takes as much (PIPE_BUF of Linux)
AGAIN_S = 60.0  # before a warning that anyone can cause is repeated,
MOST_SELDOM = 20  # and how many different ones are written in that time


class Log:
    """Writes lines. Those that stderr does not take, because it is closed, its disk is full or nobody reads it, are lost.

    Args:
        as_json: one object a line, with time (UTC, ISO 8601), level and event.
        stream: default stderr.
    """

    def __init__(self, as_json: bool = False, stream: TextIO | None = None) -> None:
        self._as_json = as_json
        self._stream = stream or sys.stderr  # None where the program was started without one
        self._said: set[str] = set()  # of what is written seldom
        self._said_until = 0.0
        self._left_out = 0
        self._file: int | None = None
        self._poll = None
        with contextlib.suppress(AttributeError, OSError, ValueError):  # no file behind it; no poll on Windows
            self._file = self._stream.fileno()
            poll = select.poll()
            poll.register(self._file, select.POLLOUT)
            self._poll = poll

    def request(self, entry: RequestLog) -> None:
        """A line for a request."""
        ms = round(entry.ms, 2)
        if self._as_json:
            fields = {"client": entry.client, "name": entry.name, "id": entry.id[:80], "frames": entry.frames, "batch": entry.batch,
                      "status": entry.status, "ms": ms, "bytes": entry.bytes}  # fmt: skip
            self._object("info", "request", fields)
            return
        who = f" name={_plain(entry.name)}" if entry.name else ""
        self._write(f"{_plain(entry.client)}{who} id={_plain(entry.id)} frames={entry.frames} batch={entry.batch} status={entry.status} ms={ms:.2f}")  # fmt: skip

    def warn(self, sentence: str, level: str = "warning") -> None:
        """A sentence for the operator."""
        if self._as_json:
            self._object(level, "message", {"message": sentence})
        else:
            self._write(f"{level}: {sentence}")

    def warn_seldom(self, sentence: str) -> None:
        """A warning that anyone can cause: each once a minute, and at most 20 different ones; then a line says how many
        were left out."""
        now = time.monotonic()
        if now >= self._said_until:
            left_out, self._left_out = self._left_out, 0
            self._said.clear()
            self._said_until = now + AGAIN_S
            if left_out:
                self.warn(f"left out {left_out} warnings like those before; /metrics counts them by reason")
        if sentence in self._said or len(self._said) >= MOST_SELDOM:
            self._left_out += 1
            return
        self._said.add(sentence)
        self.warn(sentence)

    def take_over(self) -> None:
        """From now on the lines of the HTTP server and of asyncio are written here."""
        for name in ("uvicorn", "asyncio"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [_Handler(self)], False
            logger.setLevel(logging.WARNING)

    def _object(self, level: str, event: str, fields: dict[str, Any]) -> None:
        now = time.time()
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
        self._write(json.dumps({"time": stamp, "level": level, "event": event, **fields}))

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed
            if self._file is None:
                print(line, file=self._stream or io.StringIO(), flush=True)
                return
            data = line.encode(errors="backslashreplace") + b"\n"
            for start in range(0, len(data), PIECE_BYTES):
                # a pipe that nobody reads would hold up every request, so it is asked first
                if self._poll is None or self._poll.poll(0):
                    os.write(self._file, data[start : start + PIECE_BYTES])


def _plain(text: str) -> str:
    """A client's text must not pass for other fields, nor start a line of its own."""
    return text if PLAIN.fullmatch(text) else shown(text) if text else "-"


class _Handler(logging.Handler):
    """Lines of Python's logging."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        if record.levelno < logging.ERROR:
            self._log.warn_seldom(text)
            return
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self._log.warn(text, record.levelname.lower())
