"""Python and the three libraries. They are imported in a process of their own: a library that dies there is one line here."""

import json
import os
import platform
import re
import signal
import struct
import subprocess
import sys
from typing import Any, Dict, NamedTuple, Optional, Tuple

from device.doctor.check import FAILED, OK, SKIPPED, WARNING, Check, death
from device.errors import HardwareError
from device.system.board import board_model

NEEDED = {"numpy": "numpy", "cv2": "opencv-python-headless", "onnxruntime": "onnxruntime"}
"""Module -> its wheel in requirements-device.txt."""
LEAST = {"numpy": ((1, 19, 5), (1, 21)), "cv2": ((4, 5, 5), (4, 5)), "onnxruntime": ((1, 10, 0), (1, 14))}
"""Module -> the oldest version for Python 3.6, and for newer ones: those of requirements-device.txt."""
NUMPY_BELOW = (3,)
IMPORT_LIMIT_S = 20.0
CODE = HardwareError.exit_code

_IMPORT = """
import importlib, json, re, sys
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        facts = {"version": str(module.__version__), "file": str(module.__file__)}
        if name == "cv2":
            facts["gstreamer"] = bool(re.search(r"GStreamer:\\s+YES", module.getBuildInformation()))
    except Exception as error:
        facts = {"error": "{}: {}".format(type(error).__name__, str(error).strip())}
    print("\\n" + json.dumps([name, facts]), flush=True)
"""


class Imports(NamedTuple):
    """What importing the libraries showed."""

    facts: Dict[str, Dict[str, Any]]
    """Module -> version and file, or error; those behind one that killed the process are absent."""
    death: str
    """What ended the process, in words; empty when it came to its end."""

    def versions(self) -> Dict[str, Optional[str]]:
        """Module -> version, None where it could not be imported."""
        return {name: self.facts.get(name, {}).get("version") for name in NEEDED}


def import_libraries(python: str = sys.executable, limit_s: float = IMPORT_LIMIT_S) -> Imports:
    """Import the libraries one after the other in a new process of ``python``."""
    options = ["-I"] if sys.flags.isolated else []
    command = [python, *options, "-c", _IMPORT, *NEEDED]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit_s)
            ended = death(process.returncode) if process.returncode else ""
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            ended = "no end within {:g} s".format(limit_s)
    lines = output.decode("utf-8", "replace").splitlines()
    return Imports(dict(json.loads(line) for line in lines if line.startswith('["')), ended)


def check_python(
    version: Tuple[int, ...] = tuple(sys.version_info[:3]), bits: int = 8 * struct.calcsize("P"),
    machine: str = platform.machine(),
) -> Check:  # fmt: skip
    """Version, and whether the userland is a 64-bit one: ONNX Runtime has no wheel for any 32-bit Linux."""
    found = "{}.{}.{}, {}-bit, {}".format(*version[:3], bits, machine)
    if bits < 64:
        return Check("python", FAILED, found, "install a 64-bit system with a 64-bit Python (on a Raspberry Pi: Raspberry Pi "
                     "OS 64-bit): ONNX Runtime has no wheel for 32-bit ones", CODE)  # fmt: skip
    return Check("python", OK, found)


def check_library(
    name: str, imports: Imports, python: Tuple[int, ...] = tuple(sys.version_info[:2]), machine: str = platform.machine(),
    coretype: Optional[str] = os.environ.get("OPENBLAS_CORETYPE"), jetson: Optional[bool] = None,
) -> Check:  # fmt: skip
    """Whether a library can be imported, and whether its version is one that was tried.

    Args:
        name: of the module.
        imports: from ``import_libraries``.
        coretype: what OPENBLAS_CORETYPE is set to.
        jetson: this board is one; asked of the board by default.
    """
    facts, line = imports.facts.get(name), "opencv" if name == "cv2" else name
    install = "install it: python3 -m pip install -r requirements-device.txt"
    if facts is None:
        before = [each for each in NEEDED if each not in imports.facts]
        if before[0] != name:
            return Check(line, SKIPPED, "not imported, because {} could not be".format(before[0]))
        return Check(
            line, FAILED, "importing it ended the process: {}".format(imports.death), _fix_for(imports.death), CODE
        )
    if "error" in facts:
        return Check(
            line, FAILED, "cannot be imported ({})".format(facts["error"].splitlines()[0][:200]), install, CODE
        )
    found = facts["version"]
    numbers = _numbers(found)
    if jetson is None:
        jetson = is_jetson()
    if name == "cv2":
        found += " with GStreamer" if facts["gstreamer"] else " without GStreamer"
        if jetson and facts["gstreamer"]:
            return Check(line, OK, found)  # JetPack's own, whatever its version: csi:// needs it
        if jetson:
            return Check(line, WARNING, "{}, from {}; csi:// cameras need GStreamer".format(found, facts["file"]),
                         "uninstall the wheel, so that JetPack's own OpenCV is found: python3 -m pip uninstall "
                         "opencv-python-headless opencv-python (a virtual environment needs --system-site-packages)")  # fmt: skip
    least = LEAST[name][python >= (3, 7)]
    if numbers < least or (name == "numpy" and numbers >= NUMPY_BELOW):
        below = " and below {}".format(_text(NUMPY_BELOW)) if name == "numpy" else ""
        return Check(
            line, WARNING, "{}; requirements-device.txt wants {} or newer{}".format(found, _text(least), below), install
        )
    if name == "numpy" and numbers == (1, 19, 5) and machine == "aarch64" and not coretype:
        return Check(line, WARNING, "{} without OPENBLAS_CORETYPE, which ends with Illegal instruction on a Jetson".format(found),
                     "set it before Python starts: export OPENBLAS_CORETYPE=ARMV8")  # fmt: skip
    return Check(line, OK, found)


def is_jetson() -> bool:
    return "jetson" in (board_model() or "").lower() or os.path.exists("/etc/nv_tegra_release")


def _fix_for(ended: str) -> str:
    if ended == death(-signal.SIGILL):  # numpy#18131: OpenBLAS takes a Jetson's cores for others
        return "before Python starts: export OPENBLAS_CORETYPE=ARMV8; if it stays, the wheel is for another processor"
    return "install it again: python3 -m pip install --force-reinstall -r requirements-device.txt"


def _numbers(version: str) -> Tuple[int, ...]:
    """``1.19.5`` -> (1, 19, 5); ends at the first part that is no number."""
    numbers = []
    for part in version.split("."):
        if not re.fullmatch("[0-9]{1,9}", part):
            break
        numbers.append(int(part))
    return tuple(numbers)


def _text(numbers: Tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
