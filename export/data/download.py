"""Downloads the archive of a public data set once, checks it, and unpacks it into a cache."""

import contextlib
import hashlib
import shutil
import tarfile
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from device.errors import DataError
from device.system.files import user_cache

FOLDER = "cifar-10-batches-bin"
ARCHIVE_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
ARCHIVE_BYTES = 170_052_171


class Archive(NamedTuple):
    """A .tar.gz file of a data set.

    name: of the data set. folder: what it becomes in the cache. most_bytes: it is not read further. sha256: "" where the files
    in it are checked instead. unpack: writes what is wanted of it into a folder; raises DataError where that is not there.
    advice: what to do without a network.
    """

    name: str
    folder: str
    url: str
    most_bytes: int
    sha256: str
    unpack: Callable[[tarfile.TarFile, Path], None]
    advice: str


def cache_dir() -> Path:
    """The folder for the download and for crafted attacks: $XDG_CACHE_HOME/defq, by default ~/.cache/defq.

    Raises:
        DataError: this user has no home folder.
    """
    cached = user_cache()
    if cached is None:
        raise DataError("found no home folder to keep data and crafted attacks in; expected HOME or XDG_CACHE_HOME to name one; set one of them")  # fmt: skip
    return Path(cached)


def fetch(archive: Archive, destination: Path, limit_s: float = 1800) -> None:
    """Download an archive and unpack it into ``destination``. Its folder gets its name only when it is complete.

    Raises:
        DataError: no network, a download that takes longer than ``limit_s`` seconds, a wrong hash, a full disk.
    """
    partial = destination / f"{archive.folder}.tar.gz.partial"
    digest = hashlib.sha256()
    deadline = time.monotonic() + limit_s
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(archive.url, timeout=15) as answer, partial.open("wb") as file:
            told = answer.headers.get("Content-Length") or ""
            total = int(told) if told.isdecimal() else None
            with tqdm(total=total, unit="B", unit_scale=True, desc=archive.name) as bar:
                while (chunk := answer.read(1 << 16)) and file.tell() <= archive.most_bytes:
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"not finished after {limit_s:.0f} s")
            if file.tell() > archive.most_bytes:
                raise OSError(f"it has more than {archive.most_bytes} bytes")
        if archive.sha256 and digest.hexdigest() != archive.sha256:
            raise DataError(
                f"found SHA-256 {digest.hexdigest()} for {archive.url}; expected {archive.sha256}; {archive.advice}"
            )
        _unpack(archive, partial, destination)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(
            f"could not download {archive.name} from {archive.url} to {destination} ({error}); {archive.advice}"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # where nothing could be written either
            partial.unlink()


def _unpack(archive: Archive, file: Path, destination: Path) -> None:
    folder = destination / archive.folder
    with tempfile.TemporaryDirectory(dir=destination) as scratch, tarfile.open(file) as members:
        archive.unpack(members, Path(scratch))
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(scratch, folder.with_suffix(".partial"), dirs_exist_ok=True)
        folder.with_suffix(".partial").rename(folder)


def fetch_archive(
    destination: Path, url: str = ARCHIVE_URL, sha256: str = ARCHIVE_SHA256, limit_s: float = 1800
) -> None:
    """Download the official archive of CIFAR-10.

    Raises:
        DataError: as ``fetch``.
    """
    advice = "get cifar-10-binary.tar.gz on another machine, unpack it and name the folder with --data DIR or CIFAR10_DIR"  # fmt: skip
    fetch(Archive("CIFAR-10", FOLDER, url, ARCHIVE_BYTES, sha256, _unpack_cifar10, advice), destination, limit_s)


def _unpack_cifar10(members: tarfile.TarFile, scratch: Path) -> None:
    for member in members:
        name = Path(member.name).name
        stream = members.extractfile(member) if member.isfile() and name.endswith(".bin") else None
        if stream:
            (scratch / name).write_bytes(stream.read())
