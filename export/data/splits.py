"""Which images of a folder of photographs belong to which class and split. Only names are read here."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from device.errors import DataError

SPLITS = {
    "train": ("train", "training"),
    "calibration": ("calibration", "val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""The names that the folder of each split may have, in lower case."""
USES = {"train": "train with", "calibration": "calibrate with", "test": "test with"}
SYSTEM = ("__macosx", "@eadir", "thumbs.db", "desktop.ini")
"""Files that operating systems leave in a folder. They are passed over, and so are all hidden files."""
LEAST = 10
"""Images that a class needs where the split is made here: of every ten, the ninth goes to calibration, the tenth to test."""
SEED = 0
LAYOUTS = (
    f"expected one folder for each class with {LEAST} or more images each, or train/, val/ (or calibration/) and test/ with "
    "one folder for each class in each"
)


class FolderImages(NamedTuple):
    """The images of a folder.

    files: for each split (train, calibration, test) every image with its label, in an order that mixes the classes.
    ignored: what was passed over, one phrase for each kind.
    """

    classes: tuple[str, ...]
    files: tuple[list[tuple[Path, int]], list[tuple[Path, int]], list[tuple[Path, int]]]
    ignored: list[str]


def list_images(folder: Path, suffixes: Collection[str]) -> FolderImages:
    """Find the images of every class and split.

    Args:
        suffixes: of image files, in lower case, with the dot.

    Raises:
        DataError: the folder has no classes, one class, a class without images in a split, or not all of the splits.
    """
    listing = _Listing(folder, suffixes)
    splits = _split_folders(folder, listing)
    if splits:
        classes = sorted({each.name for split in splits.values() for each in listing.folders(split)})
        found = {
            name: [listing.images(split / each) if (split / each).is_dir() else [] for each in classes]
            for name, split in splits.items()
        }
    else:
        classes = [each.name for each in listing.folders(folder) if listing.images(each)]
        listing.empty = [each.name for each in listing.folders(folder) if each.name not in classes]
        images = [listing.images(folder / each) for each in classes]
        found = {
            name: [[file for index, file in enumerate(each) if max(0, index % 10 - 7) == part] for each in images]
            for part, name in enumerate(SPLITS)
        }
    _check_classes(folder, classes, listing)
    _check_counts(folder, classes, found, bool(splits))
    train, calibration, test = (_mixed(found[name]) for name in SPLITS)
    return FolderImages(tuple(classes), (train, calibration, test), listing.ignored())


class _Listing:
    """Lists folders and remembers what it passes over."""

    def __init__(self, root: Path, suffixes: Collection[str]) -> None:
        self.root, self.suffixes = root, suffixes
        self.hidden: set[Path] = set()
        self.others: set[Path] = set()
        self.empty: list[str] = []

    def folders(self, folder: Path) -> list[Path]:
        return sorted(each for each in self._shown(folder) if each.is_dir())

    def images(self, folder: Path) -> list[Path]:
        files = [each for each in self._shown(folder) if each.is_file()]
        found = sorted(each for each in files if each.suffix.lower() in self.suffixes)
        self.others.update(set(files) - set(found))
        return found

    def _shown(self, folder: Path) -> list[Path]:
        try:
            all_of_them = list(folder.iterdir())
        except OSError as error:
            raise DataError(
                f"could not look into {folder} ({error.strerror}); expected a folder of images; check its permissions"
            ) from error
        hidden = {each for each in all_of_them if each.name.startswith(".") or each.name.lower() in SYSTEM}
        self.hidden |= hidden
        return [each for each in all_of_them if each not in hidden]

    def ignored(self) -> list[str]:
        suffixes = sorted({each.suffix.lower() or "no suffix" for each in self.others})
        return [
            *([f"{len(self.empty)} folders without images ({', '.join(self.empty[:8])})"] if self.empty else []),
            *([f"{len(self.hidden)} hidden files and folders"] if self.hidden else []),
            *([f"{len(self.others)} files that are no images ({', '.join(suffixes[:8])})"] if self.others else []),
        ]


def _split_folders(folder: Path, listing: _Listing) -> dict[str, Path]:
    """The folder of each split by the split's name; empty where the folder holds classes.

    A folder is that of a split only if it holds folders and no images: a class may be called train as well.
    """
    by_name = {each.name.lower(): each for each in listing.folders(folder)}
    found = {
        split: [by_name[name] for name in names if name in by_name and not listing.images(by_name[name])]
        for split, names in SPLITS.items()
    }
    if not any(found.values()):
        return {}
    names = ", ".join(sorted(f"{each.name}/" for those in found.values() for each in those))
    missing = [split for split, each in found.items() if not each]
    if missing:
        raise DataError(
            f"found {names} in {folder}, but no folder to {' and none to '.join(USES[split] for split in missing)}; {LAYOUTS}; "
            "add it, or put all images of a class into one folder"
        )
    if any(len(each) > 1 for each in found.values()):
        raise DataError(f"found {names} in {folder}; expected one folder for each split; join those that mean the same")
    return {split: each[0] for split, each in found.items()}


def _check_classes(folder: Path, classes: Sequence[str], listing: _Listing) -> None:
    unprintable = [name for name in classes if not name.isprintable()]
    if unprintable:
        raise DataError(
            f"found class folders with names that cannot be printed in {folder}: {', '.join(map(ascii, unprintable))}; expected "
            "names of printable characters, which decisions are told with; rename them"
        )
    if len(classes) > 1:
        return
    if classes:
        raise DataError(
            f"found one class ({classes[0]}) in {folder}; expected two or more: a network of one class has nothing to decide; "
            "add a folder of images of something else"
        )
    beside = len(listing.images(folder))
    found = (
        f"{beside} images in {folder}, but no class folders" if beside else f"neither CIFAR-10 nor images in {folder}"
    )
    raise DataError(f"found {found}; {LAYOUTS}; name another with --data")


def _check_counts(folder: Path, classes: Sequence[str], found: dict[str, list[list[Path]]], by_split: bool) -> None:
    few = []
    for label, name in enumerate(classes):
        counts = {split: len(each[label]) for split, each in found.items()}
        if not all(counts.values()):
            lacking = " and ".join(USES[split] for split, count in counts.items() if not count)
            few.append(f"{name} has none to {lacking}" if by_split else f"{name} has {sum(counts.values())}")
    if few:
        raise DataError(
            f"found too few images in {folder}: {'; '.join(few)}; expected "
            + ("one or more of each class in each split" if by_split else f"{LEAST} or more of each class")
            + "; add images, or remove these classes"
        )


def shown(file: Path, folder: Path) -> str:
    """The path of a file in the folder, fit for a terminal."""
    name = file.relative_to(folder).as_posix()
    return name if name.isprintable() else ascii(name)


def _mixed(by_class: list[list[Path]]) -> list[tuple[Path, int]]:
    """All images, ordered so that the first N, for any N, are a sample of all classes.

    The first image of each class comes first, then all others in proportion. The order within a class is drawn with SEED.
    """
    generator = np.random.default_rng(SEED)
    places = []
    for label, files in enumerate(by_class):
        for file, place in zip(files, generator.permutation(len(files)), strict=True):
            places.append((int(place > 0), place / max(1, len(files)), label, file))
    return [(file, label) for *_, label, file in sorted(places)]
