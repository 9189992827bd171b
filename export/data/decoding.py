"""Reads many photographs over all processors."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from tqdm import tqdm

from device.errors import DataError
from device.pictures.bounds import MAX_FILE_BYTES
from device.pictures.read import damage, read_picture
from device.pictures.stderr import with_messages
from device.system.files import read_bounded

Result = TypeVar("Result")
BATCH = 4
"""Photographs for each thread between two looks at what libraries printed. One of 12 megapixels takes 36 MB."""


class Unreadable(NamedTuple):
    """Why a photograph cannot be read, as the library or the system says."""

    reason: str


def read_all(
    folder: Path, files: Sequence[str], work: Callable[[bytes], Result], told: str
) -> Iterator[Result | Unreadable]:
    """Read files and work on their contents in threads, in the order of ``files``. On a terminal a bar shows how far it is.

    Args:
        work: such as ``decode_unwatched``; a ValueError is the reason why a photograph cannot be read.
        told: what is done, for the bar.
    """
    workers = os.cpu_count() or 1

    def one(file: str) -> Result | Unreadable:
        try:
            content = read_bounded(str(folder / file), MAX_FILE_BYTES)
            return work(content) if content else Unreadable("empty")
        except OSError as error:
            return Unreadable(error.strerror or type(error).__name__)
        except (ValueError, MemoryError) as error:
            return Unreadable(str(error) or type(error).__name__)

    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(files), desc=told, leave=False, disable=None) as bar:
        for start in range(0, len(files), BATCH * workers):
            batch = files[start : start + BATCH * workers]
            found, messages = with_messages(lambda batch=batch: list(pool.map(one, batch)))  # type: ignore[misc]
            if damage(messages):  # of one or more of them
                found = [_alone(folder / file, result) for file, result in zip(batch, found, strict=True)]
            yield from found
            bar.update(len(batch))


def _alone(file: Path, found: Result | Unreadable) -> Result | Unreadable:
    """What was found, unless a library prints that this very photograph is damaged."""
    if isinstance(found, Unreadable):
        return found
    try:
        read_picture(str(file))
    except DataError as error:
        cause = error.__cause__
        return Unreadable((cause.strerror if isinstance(cause, OSError) else str(cause or "")) or type(error).__name__)
    return found
