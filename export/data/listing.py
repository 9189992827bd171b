"""Which photographs a folder holds, of which classes, and what else lies in it. Only names are read here."""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
"""Different photographs that a class needs where the split is made here."""
LAYOUTS = (
    f"expected one folder for each class with {LEAST} or more images each, or train/, val/ (or calibration/) and test/ with "
    "one folder for each class in each"
)
NAMED = 8  # names in one message


@dataclass(frozen=True, slots=True)
class Photograph:
    """One image file.

    Args:
        file: its path within the folder, with / between the parts.
        label: number of its class.
        split: a key of SPLITS, or "" where the folder has no splits.
    """

    file: str
    label: int
    split: str


@dataclass(slots=True)
class Ignored:
    """What is passed over: numbers of files by suffix, of hidden files and folders and of links to folders; the names of
    folders without images, and of those beside train/, val/ and test/."""

    suffixes: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    links: int = 0
    empty: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)

    def told(self) -> list[str]:
        """One phrase for each kind."""
        others = self.suffixes.total()
        return [
            *([f"{len(self.empty)} folders without images ({named(self.empty)})"] if self.empty else []),
            *([f"{len(self.beside)} folders beside those of the splits ({named(self.beside)})"] if self.beside else []),
            *([f"{self.hidden} hidden files and folders"] if self.hidden else []),
            *([f"{self.links} links to folders"] if self.links else []),
            *(
                [f"{others} files that are no images ({named(sorted(each or 'no suffix' for each in self.suffixes))})"]
                if others
                else []
            ),
        ]


@dataclass(frozen=True, slots=True)
class Listing:
    """The photographs of a folder, sorted by class and name.

    Args:
        has_splits: whether the folder has train/, val/ and test/.
    """

    folder: Path
    classes: tuple[str, ...]
    photographs: list[Photograph]
    has_splits: bool
    ignored: Ignored


def list_photographs(folder: Path, suffixes: Collection[str]) -> Listing:
    """Find the photographs of every class, also in folders within that of the class.

    Args:
        suffixes: of image files, in lower case, with the dot.

    Raises:
        DataError: the folder has no classes, or not all of the splits.
    """
    walk = _Walk(folder, suffixes)
    splits = _split_folders(folder, walk)
    found: dict[str, list[tuple[str, str]]] = {}
    for split, top in (splits or {"": folder}).items():
        for each in walk.folders(top):
            files = walk.images_below(each)
            if not files:
                walk.ignored.empty.append(shown(each.relative_to(folder).as_posix()))
            else:
                found.setdefault(each.name, []).extend((file, split) for file in files)
        if splits:
            walk.count_others(top)
    classes = sorted(found)
    if not classes:
        beside = len(walk.images(folder))
        told = (
            f"{beside} images in {folder}, but no class folders"
            if beside
            else f"neither CIFAR-10 nor images in {folder}"
        )
        raise DataError(f"found {told}; {LAYOUTS}; name another folder")
    photographs = [Photograph(file, label, split) for label, name in enumerate(classes) for file, split in found[name]]
    return Listing(folder, tuple(classes), photographs, bool(splits), walk.ignored)


class _Walk:
    """Lists folders and counts what it passes over."""

    def __init__(self, root: Path, suffixes: Collection[str]) -> None:
        self.root, self.suffixes = root, suffixes
        self.ignored = Ignored()

    def folders(self, folder: Path) -> list[Path]:
        return sorted(each for each in _entries(folder) if each.is_dir() and not _hidden(each.name))

    def images(self, folder: Path) -> list[Path]:
        """Those directly in it."""
        return [each for each in _entries(folder) if self._is_image(each.name) and each.is_file()]

    def images_below(self, folder: Path) -> list[str]:
        """Those in it and in the folders within it, as paths within the root, sorted."""
        found = []
        for place, folders, files in os.walk(folder, onerror=_unreadable):
            hidden = [name for name in folders if _hidden(name)]
            links = [name for name in folders if name not in hidden and os.path.islink(os.path.join(place, name))]
            self.ignored.hidden += len(hidden)
            self.ignored.links += len(links)
            folders[:] = sorted(set(folders) - set(hidden) - set(links))
            within = Path(place).relative_to(self.root)
            found += [(within / name).as_posix() for name in self._images_of(files)]
        return sorted(found)

    def count_others(self, folder: Path) -> None:
        """Count what lies directly in a folder of folders."""
        entries = _entries(folder)
        self.ignored.hidden += sum(_hidden(each.name) for each in entries)
        self.ignored.suffixes.update(
            _suffix(each.name) for each in entries if each.is_file() and not _hidden(each.name)
        )

    def _images_of(self, names: Sequence[str]) -> list[str]:
        hidden = [name for name in names if _hidden(name)]
        images = [name for name in names if self._is_image(name)]
        self.ignored.hidden += len(hidden)
        self.ignored.suffixes.update(_suffix(name) for name in set(names) - set(hidden) - set(images))
        return images

    def _is_image(self, name: str) -> bool:
        return not _hidden(name) and _suffix(name) in self.suffixes


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        _unreadable(error)
        raise


def _unreadable(error: OSError) -> None:
    raise DataError(
        f"could not look into {error.filename} ({error.strerror}); expected a folder of images; check its permissions"
    ) from error


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _split_folders(folder: Path, walk: _Walk) -> dict[str, Path]:
    """The folder of each split by the split's name; empty where the folder holds classes.

    A folder is that of a split only if it holds folders and no images: a class may be called train as well.
    """
    by_name = {each.name.lower(): each for each in walk.folders(folder)}
    found = {
        split: [by_name[name] for name in names if name in by_name and not walk.images(by_name[name])]
        for split, names in SPLITS.items()
    }
    walk.count_others(folder)
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
    splits = {split: each[0] for split, each in found.items()}
    walk.ignored.beside += [shown(each.name) for each in walk.folders(folder) if each not in splits.values()]
    return splits


def check_classes(listing: Listing) -> None:
    """Check that a network can tell the classes of a folder apart.

    Raises:
        DataError: there is one class, or there are classes whose names cannot be printed or differ only in case.
    """
    folder, classes = listing.folder, listing.classes
    unprintable = [name for name in classes if not name.isprintable()]
    if unprintable:
        raise DataError(
            f"found class folders with names that cannot be printed in {folder}: {', '.join(map(ascii, unprintable))}; expected "
            "names of printable characters, which decisions are told with; rename them"
        )
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    same = [" and ".join(names) for names in alike.values() if len(names) > 1]
    if same:
        raise DataError(
            f"found class folders in {folder} whose names differ only in case or in how their letters are written: "
            f"{named(same)}; expected one folder for each class; join or rename them"
        )
    if len(classes) == 1:
        raise DataError(
            f"found one class ({classes[0]}) in {folder}; expected two or more: a network of one class has nothing to decide; "
            "add a folder of images of something else"
        )


def shown(file: str) -> str:
    """The path of a file in the folder, fit for a terminal."""
    return file if file.isprintable() else ascii(file)


def named(names: Sequence[str]) -> str:
    """The first of some names for a message, and the number of the others."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
