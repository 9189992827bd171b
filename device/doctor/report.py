"""Runs the checks one after the other, and makes the report of them, for people and for programs."""

import functools
import platform
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from device import __version__
from device.doctor import wheels
from device.doctor.check import FAILED, OK, SKIPPED, WARNING, Check, guarded, isolated
from device.errors import EdgeError, HardwareError
from device.system.board import board_model
from device.system.printable import printable

FORMAT, FORMAT_VERSION = "sdn-edge-doctor", 1
WORDS = {OK: "ok", WARNING: "warning", FAILED: "FAILED", SKIPPED: "skipped"}
COLOURS = {OK: "32", WARNING: "33", FAILED: "1;31", SKIPPED: "2"}
LIBRARIES = ("numpy", "opencv", "onnxruntime")


class Job(NamedTuple):
    """A check that runs in a process of its own."""

    name: str
    needs: Tuple[str, ...]
    """Lines without which it is skipped."""
    run: Callable[[], Check]
    limit_s: float = 5.0
    exit_code: int = EdgeError.exit_code
    """For the case that nobody expected."""


def examine(
    rest: List[Job], imports: wheels.Imports, tell: Optional[Callable[[Check], None]] = None, debug: bool = False
) -> List[Check]:
    """Run the checks one after the other, so that none disturbs another's times.

    Args:
        rest: all but Python and its libraries.
        imports: of the libraries.
        tell: is called with every check as soon as it is done.
    """
    done: Dict[str, Check] = {}

    def keep(check: Check) -> None:
        done[check.name] = check
        if tell is not None:
            tell(check)

    keep(wheels.check_python())
    for line, module in zip(LIBRARIES, wheels.NEEDED):
        keep(guarded(line, functools.partial(wheels.check_library, module, imports), HardwareError.exit_code, debug))
    for job in rest:
        missing = [name for name in job.needs if done[name].status == FAILED or
                   (name in LIBRARIES and done[name].status == SKIPPED)]  # fmt: skip
        if missing:
            keep(Check(job.name, SKIPPED, "needs {} first".format(" and ".join(missing))))
        else:
            keep(isolated(job.name, job.run, job.exit_code, job.limit_s, debug))
    return list(done.values())


def exit_code(checks: List[Check]) -> int:
    """Of the first failed check; 0 where none failed."""
    return next((check.exit_code for check in checks if check.status == FAILED), 0)


def report(checks: List[Check], imports: wheels.Imports, code: int) -> Dict[str, Any]:
    """For a program that looks after many boards."""
    versions = dict(imports.versions(), device=__version__, python=platform.python_version())
    versions["opencv"] = versions.pop("cv2")
    lines = [
        {"name": each.name, "status": each.status, "found": each.found, "fix": each.fix or None} for each in checks
    ]
    return {
        "format": FORMAT, "format_version": FORMAT_VERSION, "board": board_model(), "system": platform.platform(),
        "versions": versions, "checks": lines, "exit_code": code,
    }  # fmt: skip


def text(check: Check, colour: bool = False) -> str:
    """One line, or two with the fix."""
    word = WORDS[check.status].ljust(7)
    if colour:
        word = "\033[{}m{}\033[0m".format(COLOURS[check.status], word)
    line = "{}  {}  {}".format(check.name.ljust(11), word, printable(check.found))
    return line + ("\n" + " " * 13 + "fix: " + printable(check.fix) if check.fix else "")
