"""Makes a kit: the files, their hashes, and an archive. The same files give the same bytes whenever it is built."""

import contextlib
import gzip
import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import device
from device.bundle.reader import Bundle, load_bundle
from device.errors import BundleError, OutputError
from device.system.version import COMMIT_FILE, known_commit
from export.data.shipped import shipped_folder
from export.kit.boards import Board

FORMAT = "defq-kit"
FORMAT_VERSION = 1
ROOT = Path(device.__file__).resolve().parents[1]
TEMPLATES = Path(__file__).parent / "templates"
EXECUTABLE = ("install.sh", "uninstall.sh")
EPOCH_S = 315532800
"""Time of all files, the year 1980: a board without a clock starts in the past, and no file is then from its future."""


def kit_files(bundle_path: str | Path, board: Board, wheels: Sequence[Path]) -> dict[str, bytes]:
    """The content of every file of a kit, by its path in the kit.

    Args:
        bundle_path: a folder or a .tar.gz made by: defq bundle.
        wheels: of the board, pip's among them.

    Raises:
        BundleError: the bundle is absent, incomplete or changed.
    """
    bundle = load_bundle(str(bundle_path))
    files = _tree(ROOT / "device", "device")
    if commit := known_commit():  # for defq --version on the board
        files[f"device/{COMMIT_FILE}"] = f"{commit}\n".encode()
    files.update(_tree(shipped_folder("tables"), "tables"))
    files.update(_bundle_files(bundle))
    files.update((f"wheels/{wheel.name}", wheel.read_bytes()) for wheel in wheels)
    files.update(_tree(TEMPLATES, "templates"))
    for name in (*EXECUTABLE, "README.txt"):
        files[name] = files.pop(f"templates/{name}")
    files["requirements.txt"] = ("\n".join(board.requirements) + "\n").encode()
    settings = {
        "BOARD": board.name,
        "TITLE": board.title,
        "MACHINE": board.machine,
        "PYTHON_VERSION": board.python,
        "GLIBC_VERSION": board.glibc,
        "MODELS": board.models,
        "FROM_SYSTEM": " ".join(f"{module}={name}" for module, name in board.from_system.items()),
        "ENVIRONMENT": " ".join(board.environment),
        "SOURCE": board.source,
        "BUNDLE_ID": bundle.id,
        "PIP": next(wheel.name for wheel in wheels if wheel.name.startswith("pip-")),
    }
    files["README.txt"] = _fill(files["README.txt"], {**settings, "NOTES": board.notes})
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    settings["KIT_ID"] = hashlib.sha256(json.dumps([settings, digests], sort_keys=True).encode()).hexdigest()[:12]
    files["kit.env"] = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items()).encode()
    files["kit.json"] = (json.dumps(_about(files, bundle, board, settings["KIT_ID"]), indent=1) + "\n").encode()
    listing = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    files["SHA256SUMS"] = "".join(listing).encode()
    return files


def write_kit(files: Mapping[str, bytes], folder: str, out: Path) -> None:
    """Write a kit as .tar.gz that unpacks into ``folder``. A write that fails leaves no archive under the name ``out``.

    Raises:
        OutputError: it cannot be written.
    """
    partial = out.with_name(out.name + ".partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # The header of gzip would contain the time and the name of the file.
        with (
            partial.open("wb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
        ):
            for name in sorted(files):
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size = len(files[name])
                member.mode = 0o755 if name in EXECUTABLE else 0o644
                member.mtime = EPOCH_S
                member.uname = member.gname = "root"
                archive.addfile(member, io.BytesIO(files[name]))
        partial.replace(out)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OutputError(
            f"could not write the kit to {out} ({error.strerror}); expected a file that can be written and "
            f"{sum(map(len, files.values())) >> 20} MB of space; choose another --out"
        ) from error


def _about(files: Mapping[str, bytes], bundle: Bundle, board: Board, kit_id: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "id": kit_id,
        "board": board.name,
        "title": board.title,
        "machine": board.machine,
        "python": board.python,
        "glibc": board.glibc,
        "bundle": {"id": bundle.id, "model": bundle.model, "split": bundle.split},
        "versions": {"sdn-edge-defq": device.__version__, **dict(pin.split("==") for pin in board.pins)},
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in sorted(files.items())
        },
    }


def _tree(folder: Path, name: str) -> dict[str, bytes]:
    """The files of a folder, without caches and hidden files."""
    inside = {file: file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.is_file()}
    return {
        f"{name}/{path.as_posix()}": file.read_bytes()
        for file, path in inside.items()
        if not any(part == "__pycache__" or part.startswith(".") for part in path.parts)
    }


def _bundle_files(bundle: Bundle) -> dict[str, bytes]:
    """Every file of the bundle, each checked against the manifest."""
    files = {f"bundle/{name}": bundle.read_file(name) for name in bundle.manifest["files"]}
    if bundle.files:
        files["bundle/manifest.json"] = bundle.files["manifest.json"]
        return files
    try:
        files["bundle/manifest.json"] = (Path(bundle.path) / "manifest.json").read_bytes()
    except OSError as error:
        raise BundleError(f"could not read the manifest of {bundle.path} ({error.strerror}); copy it again") from error
    return files


def _fill(text: bytes, values: Mapping[str, str]) -> bytes:
    for name, value in values.items():
        text = text.replace(f"@{name}@".encode(), value.encode())
    return text
