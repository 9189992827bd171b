"""A folder of photographs as a data set: one sub-folder for each class."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from device.errors import DataError
from device.pictures.fit import fit_picture
from device.pictures.formats import SUFFIXES
from device.pictures.read import read_picture
from device.system.console import warn
from export.data.hashes import content_hashes
from export.data.images import Dataset, Images
from export.data.listing import list_photographs, shown
from export.data.splits import ORDER, split_photographs

BAD_SHOWN = 40  # names of unreadable images in one message


def read_folder(folder: Path, size: tuple[int, int], fit: str, group: str = "") -> Dataset:
    """A folder of photographs (docs/photographs.md says in which layouts).

    Args:
        size: (height, width) that the images are brought to.
        fit: how (device/pictures/fit.py).
        group: a regular expression over the paths, whose match names the group that stays in one split; "" for none.

    Raises:
        DataError: another layout, or images that cannot be read, all of which are named.
        UsageError: a pattern that cannot work.
    """
    listing = list_photographs(folder, SUFFIXES)
    if listing.ignored.told():
        print(f"passed over in {folder}: {'; '.join(listing.ignored.told())}", file=sys.stderr)
    hashes, bad = content_hashes(folder, [each.file for each in listing.photographs])
    readable = replace(listing, photographs=[each for each in listing.photographs if each.file in hashes])
    split = split_photographs(readable, hashes, group)
    for warning in split.warnings:
        warn(warning)
    parts = []
    for listed in split.parts:
        pixels = np.empty((len(listed), *size, 3), np.uint8)
        for place, each in enumerate(listed):
            try:
                pixels[place] = fit_picture(read_picture(str(folder / each.file)), size, fit)
            except DataError as error:
                bad[each.file] = _reason(error)
        labels = np.array([each.label for each in listed], np.int64)
        parts.append(Images(pixels, labels, 0, tuple(each.file for each in listed)))
    if bad:
        names = sorted(f"{shown(file)} ({reason})" for file, reason in bad.items())
        more = f" and {len(bad) - BAD_SHOWN} more" if len(bad) > BAD_SHOWN else ""
        raise DataError(
            f"could not read {len(bad)} of {len(listing.photographs)} images in {folder}: "
            f"{', '.join(names[:BAD_SHOWN])}{more}; expected whole images; remove or replace them"
        )
    train, calibration, test = parts
    return Dataset(train, calibration, test, listing.classes, f"images in {folder}", ORDER, fit=fit, group=group)


def _reason(error: DataError) -> str:
    """Why an image cannot be read, as the library or the system says."""
    cause = error.__cause__
    return (cause.strerror if isinstance(cause, OSError) else str(cause or "")) or type(cause or error).__name__
