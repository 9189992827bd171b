"""A folder of photographs as a data set: one sub-folder for each class."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from device.errors import DataError
from device.pictures.fit import fit_picture
from device.pictures.formats import SUFFIXES
from device.pictures.read import decode_unwatched
from device.system.console import warn
from export.data.decoding import Unreadable, read_all
from export.data.hashes import content_hashes
from export.data.images import Dataset, Images
from export.data.listing import Listing, Photograph, check_classes, list_photographs, shown
from export.data.memory import available_bytes
from export.data.photograph_cache import Kept, PhotographCache
from export.data.splits import ORDER, split_photographs

BAD_SHOWN = 40  # names of unreadable images in one message
TOLD_BYTES = 1 << 30
"""A set that takes as much memory, or more, is told of before it is read."""
SHARE_OF_MEMORY = 0.7


def read_folder(folder: Path, size: tuple[int, int], fit: str, group: str = "") -> Dataset:
    """A folder of photographs (docs/photographs.md says in which layouts). A large one is kept in a cache.

    Args:
        size: (height, width) that the images are brought to.
        fit: how (device/pictures/fit.py).
        group: a regular expression over the paths, whose match names the group that stays in one split; "" for none.

    Raises:
        DataError: another layout, more photographs than memory holds, or images that cannot be read, all of which are named.
        UsageError: a pattern that cannot work.
    """
    listing = list_photographs(folder, SUFFIXES)
    check_classes(listing)
    if listing.ignored.told():
        print(f"passed over in {folder}: {'; '.join(listing.ignored.told())}", file=sys.stderr)
    return read_listing(listing, size, fit, group)


def read_listing(
    listing: Listing,
    size: tuple[int, int],
    fit: str,
    group: str = "",
    check: Callable[[Listing, Mapping[str, str]], None] = lambda _listing, _hashes: None,
) -> Dataset:
    """The photographs of a listing, from the cache where they were decoded before.

    Args:
        size, fit, group: as for ``read_folder``.
        check: raises a DataError where the SHA-256 of a file's content, in hex by file, is wrong.

    Raises:
        DataError, UsageError: as ``read_folder``, but for the layout.
    """
    _check_memory(listing, size)
    cache = PhotographCache(listing, size, fit, group)
    kept = cache.load()
    if kept is None:
        kept = _decoded(listing, size, fit, group, check)
        cache.save(kept)
    for warning in kept.warnings:
        warn(warning)
    train, calibration, test = kept.parts
    return Dataset(
        train, calibration, test, listing.classes, f"images in {listing.folder}", ORDER, fit=fit, group=group
    )


def _check_memory(listing: Listing, size: tuple[int, int]) -> None:
    height, width = size
    count, needed, free = len(listing.photographs), len(listing.photographs) * height * width * 3, available_bytes()
    if free is not None and needed > free * SHARE_OF_MEMORY:
        raise DataError(
            f"found {count} photographs in {listing.folder}, which take {needed / 1e9:.1f} GB of memory at {width} x {height} pixels; "
            f"expected at most {free * SHARE_OF_MEMORY / 1e9:.1f} GB, {SHARE_OF_MEMORY:.0%} of what is free; take fewer photographs, "
            "or a network for smaller images"
        )
    if needed >= TOLD_BYTES:
        print(f"{count} photographs take {needed / 1e9:.1f} GB of memory at {width} x {height} pixels", file=sys.stderr)


def _decoded(
    listing: Listing,
    size: tuple[int, int],
    fit: str,
    group: str,
    check: Callable[[Listing, Mapping[str, str]], None],
) -> Kept:
    hashes, bad = content_hashes(listing.folder, [each.file for each in listing.photographs])
    check(listing, hashes)
    readable = replace(listing, photographs=[each for each in listing.photographs if each.file in hashes])
    split = split_photographs(readable, hashes, group)
    wanted = [each for part in split.parts for each in part]
    pixels = np.empty((len(wanted), *size, 3), np.uint8)

    def fitted(content: bytes) -> np.ndarray:
        return fit_picture(decode_unwatched(content), size, fit)

    found = read_all(listing.folder, [each.file for each in wanted], fitted, "reading photographs")
    for place, (each, image) in enumerate(zip(wanted, found, strict=True)):
        if isinstance(image, Unreadable):
            bad[each.file] = image.reason
        else:
            pixels[place] = image
    check_readable(listing, bad)
    parts, start = [], 0
    for part in split.parts:
        parts.append(_images(pixels[start : start + len(part)], part))
        start += len(part)
    return Kept(parts, split.warnings)


def check_readable(listing: Listing, bad: Mapping[str, str]) -> None:
    """Check that every photograph could be read.

    Args:
        bad: why not, by file.

    Raises:
        DataError: it names those that could not.
    """
    if bad:
        names = sorted(f"{shown(file)} ({reason})" for file, reason in bad.items())
        more = f" and {len(bad) - BAD_SHOWN} more" if len(bad) > BAD_SHOWN else ""
        raise DataError(
            f"could not read {len(bad)} of {len(listing.photographs)} images in {listing.folder}: "
            f"{', '.join(names[:BAD_SHOWN])}{more}; expected whole images; remove or replace them"
        )


def _images(pixels: np.ndarray, photographs: Sequence[Photograph]) -> Images:
    labels = np.array([each.label for each in photographs], np.int64)
    return Images(pixels, labels, 0, tuple(each.file for each in photographs))
