"""Writes lines to stderr, as text or as JSON for programs that collect logs. The host goes on if nobody takes its lines."""

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
PIECE_BYTES = 4096  # a pipe that is ready for writing takes at least as much (PIPE_BUF of Linux)
REPEAT_S = 60.0  # seconds before a warning that anyone can cause is repeated
MOST_SELDOM = 20  # number of different warnings of this kind that are written in that time


class Log:
    """Writes lines. Lines that the stream does not take, because it is closed, its disk is full or nobody reads it, are lost.

    Args:
        as_json: whether each line is a JSON object with time (UTC, ISO 8601), level and event.
        stream: where the lines go; the default is stderr.
    """

    def __init__(self, as_json: bool = False, stream: TextIO | None = None) -> None:
        self._as_json = as_json
        self._stream = stream or sys.stderr  # None if the program was started without stderr
        self._said: set[str] = set()  # warnings of ``warn_seldom`` in the last minute
        self._said_until = 0.0
        self._left_out = 0
        self._file: int | None = None
        self._poll = None
        with contextlib.suppress(
            AttributeError, OSError, ValueError
        ):  # the stream has no file, or there is no poll, as on Windows
            self._file = self._stream.fileno()
            poll = select.poll()
            poll.register(self._file, select.POLLOUT)
            self._poll = poll

    def request(self, entry: RequestLog) -> None:
        """Write a line for a request that has ended."""
        ms = round(entry.ms, 2)
        if self._as_json:
            fields = {"client": entry.client, "name": entry.name, "id": entry.id[:80], "frames": entry.frames, "batch": entry.batch,
                      "status": entry.status, "ms": ms, "bytes": entry.bytes}  # fmt: skip
            self._object("info", "request", fields)
            return
        who = f" name={_plain(entry.name)}" if entry.name else ""
        self._write(f"{_plain(entry.client)}{who} id={_plain(entry.id)} frames={entry.frames} batch={entry.batch} status={entry.status} ms={ms:.2f}")  # fmt: skip

    def warn(self, sentence: str, level: str = "warning") -> None:
        """Write a sentence for the operator."""
        if self._as_json:
            self._object(level, "message", {"message": sentence})
        else:
            self._write(f"{level}: {sentence}")

    def warn_seldom(self, sentence: str) -> None:
        """Write a warning that anyone can cause: each at most once a minute, and at most 20 different ones a minute. A line then
        says how many were left out."""
        now = time.monotonic()
        if now >= self._said_until:
            left_out, self._left_out = self._left_out, 0
            self._said.clear()
            self._said_until = now + REPEAT_S
            if left_out:
                self.warn(f"left out {left_out} warnings like those before; /metrics counts them by reason")
        if sentence in self._said or len(self._said) >= MOST_SELDOM:
            self._left_out += 1
            return
        self._said.add(sentence)
        self.warn(sentence)

    def take_over(self) -> None:
        """Write the lines of the HTTP server and of asyncio from now on."""
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
                # A pipe that nobody reads would block every request, so the line is only written if the pipe is ready.
                if self._poll is None or self._poll.poll(0):
                    os.write(self._file, data[start : start + PIECE_BYTES])


def _plain(text: str) -> str:
    """The text of a client in a form in which it cannot be mistaken for other fields, nor begin another line."""
    return text if PLAIN.fullmatch(text) else shown(text) if text else "-"


class _Handler(logging.Handler):
    """Passes lines of Python's logging on to a Log."""

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
