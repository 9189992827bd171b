"""Which photographs are trained with, calibrated with and tested with.

A folder with train/, val/ and test/ is taken as it is. Else the content of a photograph decides: its SHA-256 is a number
between 0 and 1, below 0.70 it is trained with, below 0.85 calibrated with, and tested with from there. So a photograph stays
where it is when it is renamed and when others are added. With ``--group`` the name of the group decides instead. A class that
would get less than half of its share in a split gets the photographs (or groups) whose numbers are nearest.

The same content is never in two splits.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from device.errors import DataError
from export.data.groups import Unit, check_groups, units
from export.data.listing import LEAST, SPLITS, USES, Listing, Photograph, named, shown

RULE = 2
"""Number of this rule, for caches. 1 went by the names of the files."""
BOUNDS = {"train": (0.0, 0.70), "calibration": (0.70, 0.85), "test": (0.85, 1.0)}
ORDER = "images of a split are mixed over all classes by their SHA-256"


class Split(NamedTuple):
    """The photographs of the three splits.

    parts: for each split (train, calibration, test) every photograph, in an order that mixes the classes. warnings: whole
    sentences about photographs that are there more than once.
    """

    parts: tuple[list[Photograph], list[Photograph], list[Photograph]]
    warnings: list[str]


def split_photographs(listing: Listing, hashes: Mapping[str, str], group: str = "") -> Split:
    """Split the photographs of a folder.

    Args:
        hashes: SHA-256 of the content of each file, in hex.
        group: a regular expression over the paths, whose match names the group that stays in one split; "" for none.

    Raises:
        UsageError: a pattern that cannot work. DataError: a class with too few photographs, or without any in a split.
    """
    _check_counts(listing, hashes)
    if listing.has_splits:
        places, warnings = _as_they_are(listing, hashes, group)
    else:
        found = units(listing.photographs, hashes, group)
        by_unit = _places(found, len(listing.classes))
        places = {file: split for unit, split in zip(found, by_unit, strict=True) for file in unit.files}
        warnings = []
    by_class: dict[str, list[list[Photograph]]] = {split: [[] for _ in listing.classes] for split in SPLITS}
    for each in listing.photographs:
        if each.file in places:
            by_class[places[each.file]][each.label].append(each)
    _check_splits(listing, by_class, group)
    train, calibration, test = (_mixed(by_class[split], hashes) for split in SPLITS)
    return Split((train, calibration, test), warnings + _in_two_classes(listing, hashes))


def _as_they_are(listing: Listing, hashes: Mapping[str, str], group: str) -> tuple[dict[str, str], list[str]]:
    """The split of each file of a folder with splits. What is tested with is not trained or calibrated with as well."""
    if group:
        check_groups(listing.photographs, group)
    rank = {split: number for number, split in enumerate(SPLITS)}
    last: dict[str, Photograph] = {}
    for each in listing.photographs:
        kept = last.setdefault(hashes[each.file], each)
        if rank[each.split] > rank[kept.split]:
            last[hashes[each.file]] = each
    places = {each.file: each.split for each in listing.photographs if each.split == last[hashes[each.file]].split}
    twice = [f"{shown(each.file)} is {shown(last[hashes[each.file]].file)}" for each in listing.photographs if each.file not in places]  # fmt: skip
    if not twice:
        return places, []
    return places, [
        f"found {len(twice)} photographs in two splits of {listing.folder} ({named(twice)}); the same photograph must not be both "
        "trained and tested with: the copy to test with is kept, then that to calibrate with, and the other is left out; remove it"
    ]


def _places(found: Sequence[Unit], classes: int) -> list[str]:
    """The split of each unit."""
    places = [next(split for split, (_, end) in BOUNDS.items() if unit.place < end or end == 1) for unit in found]
    counts = {split: Counter[int]() for split in SPLITS}
    for unit, split in zip(found, places, strict=True):
        counts[split].update(unit.counts)
    total = sum(counts.values(), Counter())
    half = {split: {label: max(1, int(total[label] * (end - start) / 2)) for label in range(classes)} for split, (start, end) in BOUNDS.items()}  # fmt: skip
    one = {split: dict.fromkeys(range(classes), 1) for split in SPLITS}
    none = {split: dict.fromkeys(range(classes), 0) for split in SPLITS}
    # what is trained with first, from wherever it lies; the others then take what the donor can give
    for split, kept in (("train", none), ("test", half), ("calibration", half), ("test", one), ("calibration", one)):
        for label in range(classes):
            _top_up(split, label, half[split][label] if kept is not one else 1, found, places, counts, kept)
    return places


def _top_up(
    split: str, label: int, least: int, found: Sequence[Unit], places: list[str], counts: dict[str, Counter[int]],
    kept: Mapping[str, Mapping[int, int]],
) -> None:  # fmt: skip
    """Move the nearest units to a split until it has ``least`` photographs of a class.

    Args:
        kept: how many photographs of each class a split keeps when it gives units away.
    """
    if counts[split][label] >= least:
        return
    start, end = BOUNDS[split]
    others = [number for number, unit in enumerate(found) if places[number] != split and label in unit.counts]
    others.sort(key=lambda number: (max(start - found[number].place, found[number].place - end), found[number].key))
    for number in others:
        donor, given = places[number], found[number].counts
        if all(counts[donor][each] - count >= kept[donor][each] for each, count in given.items()):
            counts[donor].subtract(given)
            counts[split].update(given)
            places[number] = split
            if counts[split][label] >= least:
                return


def _in_two_classes(listing: Listing, hashes: Mapping[str, str]) -> list[str]:
    first: dict[str, Photograph] = {}
    twice = []
    for each in listing.photographs:
        other = first.setdefault(hashes[each.file], each)
        if other.label != each.label:
            twice.append(f"{shown(other.file)} is {shown(each.file)}")
    if not twice:
        return []
    return [
        f"found {len(twice)} photographs in two classes of {listing.folder} ({named(twice)}); no network can be right about both: "
        "remove the wrong one"
    ]


def _check_counts(listing: Listing, hashes: Mapping[str, str]) -> None:
    """Check that every class has enough different photographs where the split is made here."""
    if listing.has_splits:
        return
    contents: list[set[str]] = [set() for _ in listing.classes]
    for each in listing.photographs:
        contents[each.label].add(hashes[each.file])
    few = [f"{name} has {len(found)}" for name, found in zip(listing.classes, contents, strict=True) if len(found) < LEAST]  # fmt: skip
    if few:
        raise DataError(
            f"found too few different images in {listing.folder}: {'; '.join(few)}; expected {LEAST} or more of each class; add "
            "images, or remove these classes"
        )


def _check_splits(listing: Listing, by_class: Mapping[str, Sequence[Sequence[Photograph]]], group: str) -> None:
    lacking = []
    for label, name in enumerate(listing.classes):
        none = [USES[split] for split, parts in by_class.items() if not parts[label]]
        if none:
            lacking.append(f"{name} has none to {' and '.join(none)}")
    if not lacking:
        return
    if listing.has_splits:
        raise DataError(
            f"found too few images in {listing.folder}: {'; '.join(lacking)}; expected one or more of each class in each split; "
            "add images, or remove these classes"
        )
    whose = f"whose groups of --group '{group}' stay together" if group else "of which the same content stays together"
    raise DataError(
        f"found images in {listing.folder} {whose}, so that {'; '.join(lacking)}; expected three or more groups with each class; "
        "add photographs of other groups, or remove these classes"
    )


def _mixed(by_class: Sequence[Sequence[Photograph]], hashes: Mapping[str, str]) -> list[Photograph]:
    """All images, ordered so that the first N, for any N, are a sample of all classes.

    The first image of each class comes first, then all others in proportion. Within a class their hashes give the order.
    """
    places = []
    for photographs in by_class:
        for place, each in enumerate(sorted(photographs, key=lambda each: (hashes[each.file], each.file))):
            places.append((int(place > 0), place / len(photographs), each.label, place, each))
    return [each for *_, each in sorted(places, key=lambda place: place[:4])]
