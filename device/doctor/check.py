"""One line of the report, and how a check is run so that whatever it meets costs that line alone."""

import json
import os
import select
import signal
import sys
import time
import traceback
from typing import Callable, List, NamedTuple, Optional, Tuple

from device.errors import EdgeError

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"
GRACE_S = 0.5  # from SIGTERM to SIGKILL: camera daemons like to be told


class Check(NamedTuple):
    """What a check found."""

    name: str
    status: str
    """``ok``, ``warning``, ``failed`` or ``skipped``."""
    found: str
    fix: str = ""
    """What to do; empty where there is nothing to do."""
    exit_code: int = 0
    """Of the command, should this be its first failed check (device/errors.py)."""


def sentence_and_fix(sentence: str) -> Tuple[str, str]:
    """Split an error's sentence, "found ...; expected ...; do ...", before its last part."""
    found, _, fix = sentence.rpartition("; ")
    return (found, fix) if found else (fix, "")


def guarded(name: str, function: Callable[[], Check], exit_code: int, debug: bool = False) -> Check:
    """Run a check here; an error becomes a failed line.

    Args:
        name: of the line.
        function: the check.
        exit_code: for an exception that nobody expected; an EdgeError has its own.
        debug: print the traceback on stderr.
    """
    try:
        return function()
    except Exception as error:
        if debug:
            traceback.print_exc()
            sys.stderr.flush()
        if isinstance(error, EdgeError):
            return Check(name, FAILED, *sentence_and_fix(str(error)), error.exit_code)
        reason = str(error).strip().splitlines()
        found = "the check itself failed ({}{})".format(type(error).__name__, ": " + reason[0][:200] if reason else "")
        return Check(name, FAILED, found, "run it again with --debug and report the traceback", exit_code)


def isolated(name: str, function: Callable[[], Check], exit_code: int, limit_s: float, debug: bool = False) -> Check:
    """As ``guarded``, in a process of its own: a driver that hangs is ended after ``limit_s`` seconds, a library that
    dies (Illegal instruction) takes nothing else with it, and nothing they print mixes with the report."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(name, function, exit_code, writer, debug)
    os.close(writer)
    try:
        answer = _read(reader, time.monotonic() + limit_s)
    finally:
        os.close(reader)
        status = _end(child)
    if answer is None:
        return Check(name, FAILED, "found no end of this check within {:g} s".format(limit_s),
                     "end other programs that use what it looks at, restart the board if that does not help, and run it again", exit_code)  # fmt: skip
    if not answer:
        return Check(name, FAILED, "the process of this check died ({})".format(death(status)),
                     "run it again with --debug and report what it prints", exit_code)  # fmt: skip
    return Check(*json.loads(answer.decode("utf-8")))


def death(returncode: int) -> str:
    """A return code as ``subprocess`` gives it, in words."""
    words = {-signal.SIGILL: "Illegal instruction", -signal.SIGSEGV: "Segmentation fault", -signal.SIGKILL: "Killed",
             -signal.SIGABRT: "Aborted", -signal.SIGBUS: "Bus error"}  # fmt: skip
    return words.get(
        returncode, "signal {}".format(-returncode) if returncode < 0 else "exit code {}".format(returncode)
    )


def _child(name: str, function: Callable[[], Check], exit_code: int, writer: int, debug: bool) -> None:
    try:
        os.setsid()  # a group of its own: what it starts ends with it
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(2 if debug else quiet, 1)  # stdout is the report's
        if not debug:
            os.dup2(quiet, 2)
        check = guarded(name, function, exit_code, debug)
        os.write(writer, json.dumps(check).encode("utf-8"))
    finally:
        os._exit(0)  # neither the parent's buffers nor its exit handlers belong to this process


def _read(reader: int, deadline_s: float) -> Optional[bytes]:
    """All that the child writes; None when the time is over first."""
    parts: List[bytes] = []
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline_s - time.monotonic()))
        if not ready:
            return None
        part = os.read(reader, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _end(child: int) -> int:
    """Wait for the child, or end it and all that it started; its return code as ``subprocess`` gives it."""
    status = _reap(child, 0.05)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if status is not None:
            break
        _kill(child, number)
        status = _reap(child, GRACE_S)
    return -signal.SIGKILL if status is None else status  # stuck in the kernel: it is left behind


def _kill(child: int, number: int) -> None:
    try:
        os.killpg(child, number)
    except OSError:  # gone, or not yet a group of its own
        pass


def _reap(child: int, limit_s: float) -> Optional[int]:
    deadline_s = time.monotonic() + limit_s
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if time.monotonic() >= deadline_s:
            return None
        time.sleep(0.002)
