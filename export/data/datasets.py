"""Finds the data that a command works on: CIFAR-10, hand-sign digits, or a folder of photographs.

"The first N images" of any split are a sample of all its classes: CIFAR-10's files are mixed already, images of a folder
are mixed by export/data/splits.py.
"""

import os
from pathlib import Path

from device.errors import DataError, UsageError
from device.pictures.fit import STRETCH
from export.data import cifar10, signs
from export.data.cifar10 import find_layout, read_cifar10
from export.data.download import FOLDER, cache_dir, fetch_archive
from export.data.folder import read_folder
from export.data.images import Dataset


def load(
    directory: str | Path | None,
    size: tuple[int, int],
    fit: str = STRETCH,
    group: str = "",
    *,
    source: str = cifar10.NAME,
    download: bool = True,
    download_limit_s: float = 1800,
) -> Dataset:
    """Find and read the data: ``directory``, else those of ``source``: $CIFAR10_DIR or $SIGNS_DIR, else the cache, else
    download the archive.

    Args:
        directory: CIFAR-10 in the binary or python layout, hand-sign digits as in their archive, or a folder with one
            sub-folder of images a class. "signs" is ``source`` "signs", unless there is a folder of this name.
        size: (height, width) in pixels of the network's input.
        fit: how images are brought to this size (device/pictures/fit.py).
        group: for a folder of images: a regular expression over their paths, whose match names the group that stays in one
            split; "" for none.
        source: the data set that a network was trained on, "signs", or CIFAR-10 for all others.
        download: fetch the archive (CIFAR-10: 170 MB; once, checked by hash) when nothing else is there.
        download_limit_s: give the download up after this many seconds.

    Raises:
        DataError: no data, an incomplete file, a wrong hash.
        UsageError: a pattern that cannot work, or one for a data set with splits of its own.
    """
    if str(directory) == signs.NAME and not Path(signs.NAME).is_dir():
        directory, source, download = None, signs.NAME, True
    if directory is None and source == signs.NAME:
        return signs.read_signs(signs.signs_folder(download_limit_s, download), size, fit)
    if folder := named(directory):
        if not folder.is_dir():
            raise DataError(
                f"found no folder {folder}; expected CIFAR-10 or class sub-folders of images; name another with --data or CIFAR10_DIR"
            )
        return _read(folder, size, fit, group)
    cached = cache_dir() / FOLDER
    if not cached.is_dir():
        if not download:
            raise DataError("found no CIFAR-10; name its folder with --data DIR or CIFAR10_DIR")
        fetch_archive(cached.parent, limit_s=download_limit_s)
    return _read(cached, size, fit, group)


def given(
    data: Dataset | str | Path | None,
    size: tuple[int, int],
    fit: str = STRETCH,
    group: str = "",
    *,
    source: str = cifar10.NAME,
    download: bool = True,
) -> Dataset:
    """``data`` where it is a data set already, else what ``load`` finds."""
    return data if isinstance(data, Dataset) else load(data, size, fit, group, source=source, download=download)


def named(directory: str | Path | None, source: str = cifar10.NAME) -> Path | None:
    """The folder that the user names, with an option, or in $CIFAR10_DIR or $SIGNS_DIR."""
    found = directory or os.environ.get("SIGNS_DIR" if source == signs.NAME else "CIFAR10_DIR")
    return Path(found) if found else None


def _read(folder: Path, size: tuple[int, int], fit: str, group: str) -> Dataset:
    layout = find_layout(folder)
    place = signs.find_signs(folder) if layout is None else None
    if (layout or place) and group:
        raise UsageError(
            f"found --group '{group}' for {folder}, which holds {signs.NAME if place else cifar10.NAME} and has splits of its own; "
            "expected a folder of photographs; leave --group out, or name another folder with --data"
        )
    if layout:
        return read_cifar10(layout, size, fit)
    return signs.read_signs(place, size, fit) if place else read_folder(folder, size, fit, group)
