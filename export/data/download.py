"""Downloads the official archive of CIFAR-10 once, checks its hash and unpacks it into a cache."""

import contextlib
import hashlib
import shutil
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path

from tqdm import tqdm

from device.errors import DataError
from device.system.files import user_cache

FOLDER = "cifar-10-batches-bin"
ARCHIVE_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
ARCHIVE_BYTES = 170_052_171


def cache_dir() -> Path:
    """The folder for the download and for crafted attacks: $XDG_CACHE_HOME/defq, by default ~/.cache/defq.

    Raises:
        DataError: this user has no home folder.
    """
    cached = user_cache()
    if cached is None:
        raise DataError("found no home folder to keep data and crafted attacks in; expected HOME or XDG_CACHE_HOME to name one; set one of them")  # fmt: skip
    return Path(cached)


def fetch_archive(
    destination: Path, url: str = ARCHIVE_URL, sha256: str = ARCHIVE_SHA256, limit_s: float = 1800
) -> None:
    """Download the official archive, check its SHA-256 and unpack its files into ``destination``.

    Raises:
        DataError: no network, a download that takes longer than ``limit_s`` seconds, a wrong hash, a full disk.
    """
    partial = destination / "cifar-10-binary.tar.gz.partial"
    digest = hashlib.sha256()
    deadline = time.monotonic() + limit_s
    advice = (
        "get cifar-10-binary.tar.gz on another machine, unpack it and name the folder with --data DIR or CIFAR10_DIR"
    )
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(url, timeout=15) as answer,
            partial.open("wb") as file,
            tqdm(total=ARCHIVE_BYTES, unit="B", unit_scale=True, desc="CIFAR-10") as bar,
        ):
            while (chunk := answer.read(1 << 16)) and file.tell() <= ARCHIVE_BYTES:
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not finished after {limit_s:.0f} s")
        if digest.hexdigest() != sha256:
            raise DataError(f"found SHA-256 {digest.hexdigest()} for {url}; expected {sha256}; {advice}")
        _unpack(partial, destination)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"could not download CIFAR-10 from {url} to {destination} ({error}); {advice}") from error
    finally:
        with contextlib.suppress(OSError):  # where nothing could be written either
            partial.unlink()


def _unpack(archive: Path, destination: Path) -> None:
    """Unpack the .bin files of the archive. The folder gets its name only when it is complete."""
    folder = destination / FOLDER
    with tempfile.TemporaryDirectory(dir=destination) as scratch, tarfile.open(archive) as members:
        for member in members:
            name = Path(member.name).name
            stream = members.extractfile(member) if member.isfile() and name.endswith(".bin") else None
            if stream:
                (Path(scratch) / name).write_bytes(stream.read())
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(scratch, folder.with_suffix(".partial"), dirs_exist_ok=True)
        folder.with_suffix(".partial").rename(folder)
