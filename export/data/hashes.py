"""SHA-256 of many files, over all processors."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from device.pictures.bounds import MAX_FILE_BYTES
from device.system.files import open_regular

BLOCK_BYTES = 1 << 20


def content_hashes(folder: Path, files: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The hashes, in hex, of files within a folder. On a terminal a bar shows how far it is.

    Returns:
        the hash of each file that can be read, and for the others why not.
    """
    hashes, unreadable = {}, {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing and reading both let other threads run
        results = pool.map(lambda file: _hash(folder / file), files)
        for file, (digest, reason) in zip(files, tqdm(results, "looking for duplicates", len(files), leave=False, disable=None), strict=True):  # fmt: skip
            if reason:
                unreadable[file] = reason
            else:
                hashes[file] = digest
    return hashes, unreadable


def _hash(file: Path) -> tuple[str, str]:
    """The hash in hex and "", or "" and why the file cannot be read."""
    digest, left = hashlib.sha256(), MAX_FILE_BYTES + 1
    try:
        with open_regular(str(file)) as stream:
            while left > 0 and (block := stream.read(BLOCK_BYTES)):
                digest.update(block)
                left -= len(block)
    except OSError as error:
        return "", error.strerror or type(error).__name__
    if left <= 0:
        return "", f"it has more than {MAX_FILE_BYTES >> 20} MB"
    if left == MAX_FILE_BYTES + 1:
        return "", "empty"
    return digest.hexdigest(), ""
