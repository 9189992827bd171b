"""What a folder of photographs holds, before anything is trained on it: defq scan."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from device.errors import DataError, EdgeError
from device.pictures.formats import SUFFIXES
from device.pictures.read import size_unwatched
from export.data.decoding import Unreadable, read_all
from export.data.folder import check_readable
from export.data.listing import LEAST, SPLITS, Ignored, Listing, Photograph, check_classes, list_photographs
from export.data.photograph_cache import file_facts
from export.data.signs import find_signs, listed
from export.data.splits import Split, split_photographs

BY_FOLDERS, BY_GROUP, BY_CONTENT, BY_PARTICIPANT = "folders", "by group", "by content", "by participant"


class Range(NamedTuple):
    """Smallest, middle and largest of some numbers."""

    min: float
    median: float
    max: float


class Counts(NamedTuple):
    """Photographs of one class: all that can be read, different ones among them, and how many go to each split. The splits
    are absent where no split can be made."""

    readable: int
    different: int
    splits: dict[str, int] | None

    @property
    def few(self) -> bool:
        """Whether it has fewer different photographs than a class needs where the split is made here."""
        return self.different < LEAST


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Files of the same content, in groups.

    Args:
        in_class: within one class and split.
        across_splits: in two or more of the folders train/, val/ and test/.
        across_classes: in two or more classes.
    """

    in_class: list[list[str]]
    across_splits: list[list[str]]
    across_classes: list[list[str]]


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found.

    Args:
        how_split: one of BY_FOLDERS, BY_GROUP, BY_CONTENT and BY_PARTICIPANT.
        classes: their photographs, by name.
        width, height: in pixels, as a viewer shows the photographs. aspect: width / height. Absent where none can be read.
        cut_off: share of a photograph that a crop to the network's proportions leaves out.
        small: files with fewer pixels than the network on one side or both.
        corrupt: why a file cannot be read, by its name.
        problems: why nothing can be trained on the folder as it is.
        warnings: of the split.
        size: (height, width) of the network.
    """

    folder: Path
    how_split: str
    classes: dict[str, Counts]
    width: Range | None
    height: Range | None
    aspect: Range | None
    cut_off: Range | None
    small: list[str]
    ignored: Ignored
    corrupt: dict[str, str]
    duplicates: Duplicates
    problems: list[EdgeError]
    warnings: list[str]
    size: tuple[int, int]
    group: str

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        ranges = {name: getattr(self, name) for name in ("width", "height", "aspect", "cut_off")}
        return {
            "folder": str(self.folder),
            "splits": self.how_split,
            "group": self.group,
            "classes": {
                name: {"readable": each.readable, "different": each.different, "few": each.few, **(each.splits or {})}
                for name, each in self.classes.items()
            },
            **{name: found._asdict() if found else None for name, found in ranges.items()},
            "network": {"height": self.size[0], "width": self.size[1]},
            "smaller_than_network": self.small,
            "ignored": {
                "suffixes": dict(self.ignored.suffixes), "hidden": self.ignored.hidden, "links": self.ignored.links,
                "folders_without_images": self.ignored.empty, "folders_beside_splits": self.ignored.beside,
            },
            "corrupt": self.corrupt,
            "duplicates": {
                "in_class": self.duplicates.in_class, "across_splits": self.duplicates.across_splits,
                "across_classes": self.duplicates.across_classes,
            },
            "problems": [str(each) for each in self.problems],
            "warnings": self.warnings,
        }  # fmt: skip


def scan_folder(folder: Path, size: tuple[int, int], group: str = "") -> Scan:
    """Read every photograph of a folder once, and look at all of them. On a terminal a bar shows how far it is.

    Args:
        size: (height, width) of the network that they are meant for, in pixels.
        group: the pattern of ``--group``, or "".

    Raises:
        DataError: the folder cannot be looked into, has no classes, or not all of the splits.
    """
    listing, place = _listing(folder), find_signs(folder)
    hashes, sizes, corrupt = _read(listing)
    readable = replace(listing, photographs=[each for each in listing.photographs if each.file in hashes])
    split: Split | None = None
    problems: list[EdgeError] = []
    try:
        check_classes(listing)
    except EdgeError as error:
        problems.append(error)
    try:
        check_readable(listing, corrupt)
    except EdgeError as error:
        problems.append(error)
    try:
        split = split_photographs(readable, hashes, group)
    except EdgeError as error:
        problems.append(error)
    shapes = list(sizes.values())
    return Scan(
        folder=folder,
        how_split=BY_PARTICIPANT if place else BY_FOLDERS if listing.has_splits else BY_GROUP if group else BY_CONTENT,
        classes=_classes(readable, hashes, split.parts if split else None),
        width=_range([width for _, width in shapes]),
        height=_range([height for height, _ in shapes]),
        aspect=_range([width / height for height, width in shapes]),
        cut_off=_range([_cut_off(each, size) for each in shapes]),
        small=[file for file, (height, width) in sizes.items() if height < size[0] or width < size[1]],
        ignored=listing.ignored,
        corrupt=corrupt,
        duplicates=_duplicates(readable, hashes),
        problems=problems,
        warnings=split.warnings if split else [],
        size=size,
        group=group,
    )


def files_hash(folder: Path) -> str:
    """A hash of the names, sizes and times of change of all photographs of a folder. A scan need not be made again where it is the
    same.

    Raises:
        DataError: as ``scan_folder``, or a file went away.
    """
    listing = _listing(folder)
    try:
        facts = [(each.file, *file_facts(folder / each.file)) for each in listing.photographs]
    except OSError as error:
        raise DataError(
            f"could not read {error.filename} ({error.strerror}); expected a photograph; try again"
        ) from error
    return hashlib.sha256(json.dumps([facts, listing.ignored.told()]).encode()).hexdigest()


def _listing(folder: Path) -> Listing:
    place = find_signs(folder)
    return listed(place) if place else list_photographs(folder, SUFFIXES)


def _read(listing: Listing) -> tuple[dict[str, str], dict[str, tuple[int, int]], dict[str, str]]:
    """The SHA-256 and the (height, width) of every photograph that can be read, and for the others why not."""
    hashes, sizes, corrupt = {}, {}, {}
    files = [each.file for each in listing.photographs]
    for file, found in zip(files, read_all(listing.folder, files, _look, "looking at photographs"), strict=True):
        if isinstance(found, Unreadable):
            corrupt[file] = found.reason
        else:
            hashes[file], sizes[file] = found
    return hashes, sizes, corrupt


def _look(content: bytes) -> tuple[str, tuple[int, int]]:
    return hashlib.sha256(content).hexdigest(), size_unwatched(content)


def _classes(
    listing: Listing, hashes: Mapping[str, str], parts: Sequence[Sequence[Photograph]] | None
) -> dict[str, Counts]:
    different: list[set[str]] = [set() for _ in listing.classes]
    for each in listing.photographs:
        different[each.label].add(hashes[each.file])
    all_of_them = Counter(each.label for each in listing.photographs)
    by_split = [Counter(each.label for each in part) for part in parts] if parts else []
    return {
        name: Counts(
            all_of_them[label],
            len(different[label]),
            {split: found[label] for split, found in zip(SPLITS, by_split, strict=True)} if parts else None,
        )
        for label, name in enumerate(listing.classes)
    }


def _duplicates(listing: Listing, hashes: Mapping[str, str]) -> Duplicates:
    by_content: dict[str, list[Photograph]] = {}
    for each in listing.photographs:
        by_content.setdefault(hashes[each.file], []).append(each)
    groups = [group for group in by_content.values() if len(group) > 1]
    classes = [group for group in groups if len({each.label for each in group}) > 1]
    splits = [group for group in groups if len({each.split for each in group}) > 1]
    others = [group for group in groups if group not in classes and group not in splits]
    return Duplicates(*([[each.file for each in group] for group in those] for those in (others, splits, classes)))


def _range(values: Sequence[float]) -> Range | None:
    if not values:
        return None
    ordered = sorted(values)
    return Range(*(round(each, 4) for each in (ordered[0], ordered[len(ordered) // 2], ordered[-1])))


def _cut_off(shape: tuple[int, int], size: tuple[int, int]) -> float:
    found, wanted = shape[1] / shape[0], size[1] / size[0]
    return 1 - min(found / wanted, wanted / found)
