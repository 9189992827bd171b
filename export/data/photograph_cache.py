"""Photographs that were decoded once are kept, fitted to the size of a network, for the next command.

One folder for each set, whose name is the hash of all that its arrays follow from: the list of the files with their sizes
and times of change, the size and the fit, the pattern of the groups, and the rules of this release. It is written beside
its name and then renamed, checked by SHA-256 when it is read, and made again where it is damaged. The sets that were used
last stay, up to MOST_BYTES. A cache that cannot be written costs time only, and is told once.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from device.errors import DataError
from device.system.console import warn
from device.system.files import read_bounded
from device.system.json_text import read_json
from export.data.download import cache_dir
from export.data.images import Images
from export.data.listing import Listing
from export.data.splits import RULE

FORMAT = 1
LEAST_SOURCE_BYTES = 8 << 20
"""Smaller sets are decoded in a second or two."""
MOST_BYTES = 20 << 30
FREE_BYTES = 1 << 30
"""Of the disk, that a cache leaves."""
MOST_ABOUT_BYTES = 1 << 28
LEFT_OVER_S = 24 * 3600
PARTS = ("train", "calibration", "test")


class Kept(NamedTuple):
    """The images of the three splits, and the warnings of the split."""

    parts: list[Images]
    warnings: list[str]


class PhotographCache:
    """The place of one set in the cache.

    Args:
        listing: the photographs.
        settings: all else that the arrays follow from.
    """

    def __init__(self, listing: Listing, *settings: object) -> None:
        self._folder: Path | None = None
        try:
            facts = [(each.file, each.split, *file_facts(listing.folder / each.file)) for each in listing.photographs]
            if sum(each[2] for each in facts) >= LEAST_SOURCE_BYTES:
                rules = [FORMAT, RULE, cv2.__version__, *settings, listing.classes]
                text = json.dumps([rules, facts], default=str)
                self._folder = photograph_cache() / hashlib.sha256(text.encode()).hexdigest()[:32]
        except (OSError, DataError):  # a file has gone, which reading it will tell, or this user has no home
            pass

    def load(self) -> Kept | None:
        """What was kept; None where there is nothing, or it is damaged. The pixels lie in the file until they are used."""
        if self._folder is None:
            return None
        try:
            about = read_json(read_bounded(str(self._folder / "about.json"), MOST_ABOUT_BYTES))
            parts = [self._part(name, about[name]) for name in PARTS]
            os.utime(self._folder)
            return Kept(parts, [str(each) for each in about["warnings"]])
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None

    def _part(self, name: str, about: dict[str, Any]) -> Images:
        assert self._folder is not None
        pixels = np.load(self._folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
        labels = np.array(about["labels"], np.int64)
        files = tuple(str(each) for each in about["files"])
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or not len(pixels) == len(labels) == len(files):
            raise ValueError("not of one set")
        if _sha256(pixels) != about["sha256"]:
            raise ValueError("damaged")
        return Images(pixels.view(np.ndarray), labels, 0, files)

    def save(self, kept: Kept) -> None:
        """Keep a set. What stands against it is told, and nothing else."""
        if self._folder is None:
            return
        place, needed = self._folder.parent, sum(part.pixels.nbytes for part in kept.parts)
        draft = place / f".{self._folder.name}.{secrets.token_hex(8)}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            if needed > MOST_BYTES or shutil.disk_usage(place).free < needed + FREE_BYTES:
                warn(f"these photographs take {needed >> 20} MB, which {place} has no room for; they will be decoded again by the next command")  # fmt: skip
                return
            _make_room(place, MOST_BYTES - needed)
            draft.mkdir()
            about: dict[str, object] = {"warnings": kept.warnings}
            for name, part in zip(PARTS, kept.parts, strict=True):
                np.save(draft / f"{name}.npy", part.pixels)
                about[name] = {"labels": part.labels.tolist(), "files": part.files, "sha256": _sha256(part.pixels)}
            (draft / "about.json").write_text(json.dumps(about), encoding="ascii")
            shutil.rmtree(self._folder, ignore_errors=True)  # a damaged one
            draft.rename(self._folder)
        except OSError as error:
            if not self._folder.is_dir():  # else another process was first
                warn(f"could not keep decoded photographs in {place} ({error.strerror or error}); the next command will decode them again")  # fmt: skip
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def photograph_cache() -> Path:
    """$DEFQ_PHOTOGRAPHS, else the folder photographs beside the downloaded data.

    Raises:
        DataError: this user has no home folder.
    """
    return Path(os.environ.get("DEFQ_PHOTOGRAPHS") or cache_dir() / "photographs")


def file_facts(file: Path) -> tuple[int, int]:
    """Size and time of change, which tell a changed file from the same one without reading it."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def _make_room(place: Path, most: int) -> None:
    """Remove the sets that were not used for longest, until ``most`` bytes are left, and what a killed process has left."""
    taken = 0
    for used_s, each in sorted(((_used_s(each), each) for each in place.iterdir()), reverse=True):
        if each.name.startswith("."):
            if used_s < time.time() - LEFT_OVER_S:  # a younger one is being written
                shutil.rmtree(each, ignore_errors=True)
            continue
        with contextlib.suppress(OSError):  # removed by another process meanwhile
            taken += sum(file.stat().st_size for file in each.iterdir())
        if taken > most:
            shutil.rmtree(each, ignore_errors=True)


def _used_s(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
