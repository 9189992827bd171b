"""defq doctor: one line for each thing that a run needs, and what to do about those that are not right.

Leaves with 0 when nothing failed (warnings count as that), else with the exit code of the first failed line: 3 bundle or
data, 4 Python, a library, the engine or a camera, 5 host (device/errors.py).
"""

import argparse
import functools
import json
import os
import platform
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from device import __version__
from device.doctor import machine, parts, wheels
from device.doctor.check import FAILED, OK, SKIPPED, WARNING, Check, guarded, isolated
from device.errors import EdgeError, HardwareError, HostError, InputError, UsageError
from device.link.credentials import add_arguments as add_credentials_arguments
from device.link.credentials import credentials_of
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


EXAMPLES = (
    "defq doctor",
    "defq doctor --bundle build/vgg16 --source v4l2:///dev/video0 --host http://192.168.1.20:8000",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", metavar="DIR", help="check this bundle, and run its head")
    add("--host", metavar="URL", help="send what the bundle's head makes of a black frame there and back")
    add("--source", metavar="URI", help="open this camera, or these files, and read a frame")
    add_credentials_arguments(parser)
    add("--json", action="store_true", help="print the report as JSON")
    add("--debug", action="store_true", help="print the traceback of a check that fails, and what libraries print")


def run(arguments: argparse.Namespace) -> int:
    """Check, print, and give the exit code.

    Raises:
        UsageError: --host without --bundle.
    """
    if arguments.host and not arguments.bundle:
        raise UsageError("found --host without --bundle; expected the bundle that the host serves; add --bundle DIR")
    tell = None if arguments.json else _print
    imports = wheels.import_libraries()
    checks = examine(jobs(arguments), imports, tell, arguments.debug)
    code = exit_code(checks)
    if arguments.json:
        print(json.dumps(report(checks, imports, code), indent=1), flush=True)
    else:
        count = [sum(check.status == status for check in checks) for status in (FAILED, WARNING)]
        print("{} failed, {} to look at".format(*count) if any(count) else "all is well", flush=True)
    return code


def jobs(arguments: argparse.Namespace) -> List[Job]:
    """All but Python and its libraries, in the order of the report."""
    bundle, host, source = arguments.bundle, arguments.host, arguments.source
    hardware = HardwareError.exit_code
    return [
        Job("bundle", ("numpy",), lambda: parts.check_bundle(bundle) if bundle else _not_asked("bundle", "DIR"), 15,
            InputError.exit_code),
        Job("engine", ("numpy", "onnxruntime", "bundle"), lambda: parts.check_engine(bundle), 25, hardware),
        Job("cameras", ("numpy", "opencv"), parts.check_cameras, 15, hardware),
        Job("source", ("numpy", "opencv"), lambda: parts.check_source(source, bundle) if source else _not_asked("source", "URI"),
            8, hardware),
        Job("power", ("numpy",), machine.check_power, 10),
        Job("host", ("numpy", "onnxruntime", "bundle"),
            lambda: parts.check_host(host, bundle, credentials_of(arguments)) if host else _not_asked("host", "URL"), 10, HostError.exit_code),
        Job("clock", (), machine.check_clock),
        Job("throttling", (), machine.check_throttling),
        Job("temperature", (), machine.check_temperature),
        Job("disk", ("numpy", "onnxruntime"), parts.check_disk, 10),  # it waits for ONNX Runtime to load
        Job("memory", (), machine.check_memory),
    ]  # fmt: skip


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


def _print(check: Check) -> None:
    line = text(check, sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    # a service's locale may be ASCII, which has no degree sign
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding), flush=True)


def _not_asked(name: str, value: str) -> Check:
    return Check(name, SKIPPED, "not asked for: add --{} {}".format(name, value))
