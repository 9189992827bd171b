"""Writes the files of commands. A write that fails leaves the earlier file as it was."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from device.errors import OutputError, UsageError
from device.system.files import write_file


def write_output(file: Path, content: str | bytes) -> None:
    """Write a file and make the folders that it lies in; ``-`` is stdout.

    Raises:
        OutputError: it cannot be written.
    """
    if str(file) != "-":
        make_folder(file.parent)
    write_file(str(file), content.encode() if isinstance(content, str) else content, "place")


def make_folder(folder: Path) -> None:
    """Make a folder, unless it exists.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"could not make the folder {folder} ({error.strerror}); expected one that can be written; choose another --out") from error  # fmt: skip


def check_writable(file: Path) -> Path:
    """Check that a file can be written, before hours of work and not after them, and give it back. Its folder is made.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        there = file.exists()
        file.open("ab").close()
        if not there:
            file.unlink()
    except OSError as error:
        raise OutputError(
            f"could not write {file} ({error.strerror}); expected a file that can be written; choose another --out"
        ) from error
    return file


def replace_folder(out: Path, contents: Mapping[str, bytes]) -> None:
    """Replace a folder by one with these files. They are written beside it first, and the earlier folder is moved away before it
    is removed, so that a run that is cut off leaves no half of a folder under its name.

    Raises:
        UsageError: it cannot be written.
    """
    partial, earlier = (out.with_name(out.name + end) for end in (".partial", ".earlier"))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, content in contents.items():
            (partial / name).write_bytes(content)
        if out.exists():
            out.rename(earlier)
        partial.rename(out)
        shutil.rmtree(earlier, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UsageError(
            f"could not write the bundle to {out} ({error.strerror}); expected a folder with {sum(map(len, contents.values())) >> 20} MB of space; choose another --out"
        ) from error
