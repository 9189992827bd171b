"""Photographs that must stay in one split: those of one group, such as a person or a video, and those of the same content."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from device.errors import DataError, UsageError
from export.data.listing import Photograph, named, shown

PERSON = r"'person(\d+)'"
"""An example for messages."""


class Unit:
    """Photographs that stay in one split.

    Args:
        key: 64 hex digits that name it, and that its split follows from.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.files: list[str] = []
        self.counts: Counter[int] = Counter()
        """Photographs by label."""

    @property
    def place(self) -> float:
        """Where its key lies among all keys, from 0 to 1."""
        return int(self.key[:13], 16) / 16**13

    def add(self, photograph: Photograph) -> None:
        self.files.append(photograph.file)
        self.counts[photograph.label] += 1


def units(photographs: Sequence[Photograph], hashes: Mapping[str, str], group: str) -> list[Unit]:
    """The photographs by what must stay together, in the order of the keys.

    Args:
        hashes: SHA-256 of the content of each file, in hex.
        group: the pattern of ``--group``, or "".

    Raises:
        UsageError, DataError: as ``group_names``.
    """
    names = group_names(photographs, group) if group else {}
    keys = {file: hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest() for file, name in names.items()}
    joined = _Joined()
    for each in photographs:  # two groups that share a content are one
        joined.join(keys.get(each.file, hashes[each.file]), hashes[each.file])
    least: dict[str, str] = {}
    for each in photographs:
        key = keys.get(each.file, hashes[each.file])
        root = joined.root(key)
        least[root] = min(least.get(root, key), key)
    found: dict[str, Unit] = {}
    for each in photographs:
        key = least[joined.root(hashes[each.file])]
        found.setdefault(key, Unit(key)).add(each)
    return [found[key] for key in sorted(found)]


def group_names(photographs: Sequence[Photograph], group: str) -> dict[str, str]:
    """The name of the group of each file: the first group of the pattern, or the whole match where it has none.

    Raises:
        UsageError: it is no regular expression, does not match some of the paths, or puts all of them into one or two groups.
    """
    try:
        pattern = re.compile(group)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(
            f"found --group '{group}' ({error}); expected a regular expression over the paths of photographs, whose match names "
            f"the group; write one such as {PERSON}"
        ) from error
    names, without = {}, []
    for each in photographs:
        match = pattern.search(each.file)
        if match is None:
            without.append(shown(each.file))
        else:
            names[each.file] = (match.group(1) if pattern.groups else None) or match.group()
    if without:
        raise UsageError(
            f"found {len(without)} of {len(photographs)} photographs that --group '{group}' does not match ({named(without)}); "
            "expected it to match the path of every photograph, so that none is left out of its group; change it"
        )
    kinds = sorted(set(names.values()))
    if len(kinds) < 3:
        raise UsageError(
            f"found that --group '{group}' puts all photographs into {len(kinds)} group{'s' * (len(kinds) > 1)} "
            f"({', '.join(map(shown, kinds))}); expected three or more, one for each split; change it"
        )
    return names


def check_groups(photographs: Sequence[Photograph], group: str) -> None:
    """Check that no group lies in two of the splits that a folder comes with.

    Raises:
        UsageError: as ``group_names``. DataError: one does.
    """
    splits: dict[str, set[str]] = {}
    names = group_names(photographs, group)
    for each in photographs:
        splits.setdefault(names[each.file], set()).add(each.split)
    torn = sorted(shown(name) for name, those in splits.items() if len(those) > 1)
    if torn:
        raise DataError(
            f"found {len(torn)} groups of --group '{group}' in more than one of the folders train/, val/ and test/ "
            f"({named(torn)}); expected each in one; move their photographs into one of them"
        )


class _Joined:
    """Sets of keys that were joined, by a representative of each (union-find)."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def root(self, key: str) -> str:
        above = self._above.setdefault(key, key)
        while above != self._above[above]:
            self._above[key] = above = self._above[above]
        return above

    def join(self, key: str, other: str) -> None:
        self._above[self.root(key)] = self.root(other)
