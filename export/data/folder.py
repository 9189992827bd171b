"""A folder of photographs as a data set: one sub-folder for each class."""

import sys
from pathlib import Path

import numpy as np

from device.errors import DataError
from device.pictures.fit import fit_picture
from device.pictures.formats import SUFFIXES
from device.pictures.read import read_picture
from export.data.images import Dataset, Images
from export.data.splits import SEED, list_images, shown

BAD_SHOWN = 40  # names of unreadable images in one message


def read_folder(folder: Path, size: tuple[int, int], fit: str) -> Dataset:
    """A folder of photographs (export/data/splits.py says in which layouts).

    Args:
        size: (height, width) that the images are brought to.
        fit: how (device/pictures/fit.py).

    Raises:
        DataError: another layout, or images that cannot be read, all of which are named.
    """
    found = list_images(folder, SUFFIXES)
    if found.ignored:
        print(f"passed over in {folder}: {'; '.join(found.ignored)}", file=sys.stderr)
    bad: list[str] = []
    parts = []
    for listed in found.files:
        pixels = []
        for path, _ in listed:
            try:
                pixels.append(fit_picture(read_picture(str(path)), size, fit))
            except DataError as error:
                bad.append(f"{shown(path, folder)} ({_reason(error) if path.stat().st_size else 'empty'})")
        names = tuple(path.relative_to(folder).as_posix() for path, _ in listed)
        if not bad:
            parts.append(Images(np.stack(pixels), np.array([label for _, label in listed], np.int64), 0, names))
    if bad:
        more = f" and {len(bad) - BAD_SHOWN} more" if len(bad) > BAD_SHOWN else ""
        raise DataError(
            f"could not read {len(bad)} of {sum(map(len, found.files))} images in {folder}: "
            f"{', '.join(sorted(bad)[:BAD_SHOWN])}{more}; expected whole images; remove or replace them"
        )
    train, calibration, test = parts
    order = f"images of a split are mixed over all classes with seed {SEED}"
    return Dataset(train, calibration, test, found.classes, f"images in {folder}", order, fit=fit)


def _reason(error: DataError) -> str:
    """Why an image cannot be read, as the library or the system says."""
    cause = error.__cause__
    return (cause.strerror if isinstance(cause, OSError) else str(cause or "")) or type(cause or error).__name__
