"""Files that commands write: each there whole, or as it was before."""

from pathlib import Path

from device.errors import OutputError
from device.system.files import write_file


def write_output(file: Path, content: str | bytes) -> None:
    """Write a file, with the folders that it lies in; ``-`` is stdout.

    Raises:
        OutputError: it cannot be written.
    """
    if str(file) != "-":
        make_folder(file.parent)
    write_file(str(file), content.encode() if isinstance(content, str) else content, "place")


def make_folder(folder: Path) -> None:
    """A folder, if there is none yet.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"could not make the folder {folder} ({error.strerror}); expected one that can be written; choose another --out") from error  # fmt: skip


def check_writable(file: Path) -> Path:
    """``file``, whose folder is made if need be. One that cannot be written is refused before hours of work, not after.

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
