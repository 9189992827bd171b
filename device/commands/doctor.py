"""defq doctor: one line for each thing that a run needs, and what to do about those that are not right.

Leaves with 0 when nothing failed (warnings count as that), else with the exit code of the first failed line: 3 bundle or
data, 4 Python, a library, the engine or a camera, 5 host (device/errors.py).
"""

import argparse
import json
import os
import sys
from typing import List

from device.doctor import machine, parts, wheels
from device.doctor.check import FAILED, SKIPPED, WARNING, Check
from device.doctor.report import Job, examine, exit_code, report, text
from device.errors import HardwareError, HostError, InputError, UsageError
from device.link.credentials import add_arguments as add_credentials_arguments
from device.link.credentials import credentials_of

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
    tell = None if arguments.json else print_check
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


def print_check(check: Check) -> None:
    """Print the line of a check, in colours on a terminal."""
    line = text(check, sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    # a service's locale may be ASCII, which has no degree sign
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding), flush=True)


def _not_asked(name: str, value: str) -> Check:
    return Check(name, SKIPPED, "not asked for: add --{} {}".format(name, value))
