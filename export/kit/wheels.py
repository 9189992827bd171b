"""Downloads the wheels of a board on the workstation, and checks that they need no others."""

import email
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from device.errors import DataError
from device.system.zip_file import open_member, open_zip
from export.kit.boards import Board

MAX_METADATA_BYTES = 1 << 20
Download = Callable[[Board, Sequence[str], Path], None]
"""(board, pins, folder): downloads the wheels of these pins into the folder."""


def pip_download(board: Board, pins: Sequence[str], folder: Path) -> None:
    """Download wheels for another machine than this one with pip.

    Dependencies are not downloaded: pip would choose them for the Python that it runs on.

    Raises:
        DataError: pip finds no such wheel, or cannot reach its index.
    """
    fits = ["--implementation", "cp", "--python-version", board.python]
    fits += [word for abi in board.abis for word in ("--abi", abi)]
    fits += [word for tag in board.platforms for word in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--retries", "1"]
    command += ["--timeout", "30", "--no-deps", "--only-binary=:all:", *fits, "-d", str(folder), *pins]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        last = next((line for line in reversed(said) if line.startswith("ERROR")), said[-1] if said else "no message")
        raise DataError(
            f"could not download the wheels of {board.name} ({last.removeprefix('ERROR: ')}); expected pip and its package "
            f"index; connect to the network and run it again, or put {', '.join(pins)} into {folder}"
        )


def fetch_wheels(board: Board, folder: Path, download: Download = pip_download) -> list[Path]:
    """The board's wheels, sorted by name. Those that are in ``folder`` already are not downloaded again.

    Raises:
        DataError: a wheel cannot be downloaded, or one needs another that is not pinned.
    """
    missing = [pin for pin in board.pins if _find(folder, pin) is None]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        download(board, missing, folder)
    wheels = {pin: _find(folder, pin) for pin in board.pins}
    absent = [pin for pin, wheel in wheels.items() if wheel is None]
    if absent:
        raise DataError(
            f"found no wheel of {', '.join(absent)} in {folder}; expected one for {board.title}; put it there"
        )
    found = sorted(wheel for wheel in wheels.values() if wheel is not None)
    check_complete(board, found)
    return found


def check_complete(board: Board, wheels: Sequence[Path]) -> None:
    """Check that the requirements of all wheels are met by the wheels themselves, in the environment of the board.

    Raises:
        DataError: a wheel is no archive, or needs one that is absent: the board has no network to download it from.
    """
    there = {name: version for name, version, *_ in (parse_wheel_filename(wheel.name) for wheel in wheels)}
    environment = {
        "python_version": board.python,
        "python_full_version": board.python + ".0",
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_machine": board.machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "extra": "",
    }
    for wheel in wheels:
        for text in _needs(wheel):
            need = Requirement(text)
            if need.marker and not need.marker.evaluate(environment):
                continue
            version = there.get(canonicalize_name(need.name))
            if version is None or version not in need.specifier:
                raise DataError(
                    f"found {wheel.name}, which needs {need.name}{need.specifier}, and {version or 'none'} of it among the "
                    f"wheels of {board.name}; expected wheels that fit together; correct its pins in export/kit/boards.py"
                )


def _needs(wheel: Path) -> list[str]:
    try:
        with open_zip(wheel) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".dist-info/METADATA")]
            if not members:
                raise ValueError("no METADATA in it")
            with open_member(archive, members[0], MAX_METADATA_BYTES) as stream:
                return email.message_from_bytes(stream.read()).get_all("Requires-Dist") or []
    except ValueError as error:
        raise DataError(
            f"could not read {wheel} as a wheel ({error}); expected a complete one; remove it and run again"
        ) from error


def _find(folder: Path, pin: str) -> Path | None:
    name, _, version = pin.partition("==")
    found = sorted(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    return found[0] if found else None
