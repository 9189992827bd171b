"""What a scan found, for people: lines for the console, and a section of a page in Markdown."""

from collections.abc import Sequence

from device.system.console import aligned
from export.data.listing import LEAST, SPLITS, named, shown
from export.data.scan import BY_CONTENT, BY_FOLDERS, BY_GROUP, BY_PARTICIPANT, Range, Scan

NARROW = 0.5
"""Share of a photograph that a crop leaves out, from which it is worth a word."""
NOTHING = ("0", "nothing")


def lines(scan: Scan) -> list[str]:
    """The report, line by line."""
    told = [aligned(class_rows(scan)), "", how_split(scan), ""]
    sizes = size_rows(scan)
    if sizes:
        told += [aligned(sizes), ""]
    return [*told, *cropped(scan), *(f"{name}: {found}" for name, found in findings(scan))]


def page(scan: Scan) -> str:
    """The same in Markdown, without a heading. What was not found is told in one sentence."""
    told = [markdown(class_rows(scan)), _sentence(how_split(scan))]
    sizes = size_rows(scan)
    if sizes:
        told.append(markdown(sizes))
    told += [_sentence(line) for line in cropped(scan)]
    found = findings(scan)
    there = [f"* {name}: {escaped(text)}" for name, text in found if text not in NOTHING]
    if there:
        told.append("\n".join(there))
    absent = [name for name, text in found if text in NOTHING]
    if absent:
        told.append(_sentence(f"not found: {'; '.join(absent)}"))
    return "\n\n".join(told) + "\n"


def class_rows(scan: Scan) -> list[list[str]]:
    """A table of the classes: all photographs that can be read, different ones among them, and those of each split."""
    table = [["class", "photographs", "different", *SPLITS]]
    counts = list(scan.classes.values())
    for name, each in scan.classes.items():
        table.append([shown(name), str(each.readable), str(each.different), *_splits(each.splits)])
    total = {split: sum(each.splits[split] for each in counts if each.splits) for split in SPLITS}
    sums = [str(sum(each.readable for each in counts)), str(sum(each.different for each in counts))]
    return [*table, ["all", *sums, *_splits(total if counts[0].splits else None)]]


def size_rows(scan: Scan) -> list[list[str]]:
    """A table of the sizes in pixels; empty where no photograph can be read."""
    ranges = (("width", scan.width), ("height", scan.height), ("width / height", scan.aspect))
    found = [[name, *_numbers(each)] for name, each in ranges if each]
    return [["pixels", "min", "median", "max"], *found] if found else []


def how_split(scan: Scan) -> str:
    return {
        BY_FOLDERS: "split: the folders as they are",
        BY_GROUP: f"split: by the groups of --group '{scan.group}', which stay together",
        BY_CONTENT: "split: by the content of each photograph; photographs of one person or one video should stay together: see --group",
        BY_PARTICIPANT: "split: by participants; these are the public hand-sign digits",
    }[scan.how_split]


def cropped(scan: Scan) -> list[str]:
    """What a crop leaves out, as a line, where it leaves anything out."""
    if not scan.cut_off or scan.cut_off.max <= 0:
        return []
    line = f"crop to {scan.size[1]} x {scan.size[0]} leaves out {scan.cut_off.median:.0%} of a photograph (median), {scan.cut_off.max:.0%} at most"
    return [line + ("; letterbox keeps all" if scan.cut_off.max >= NARROW else "")]


def findings(scan: Scan) -> list[tuple[str, str]]:
    """What may be in the way: its name, and how many with some names."""
    duplicates = scan.duplicates
    found = [
        (words, f"{len(names)}{f' ({named(list(map(shown, names)))})' if names else ''}")
        for words, names in (
            (f"smaller than {scan.size[1]} x {scan.size[0]}", scan.small),
            ("corrupt", [f"{shown(file)}: {reason}" for file, reason in scan.corrupt.items()]),
            ("the same content within a class", _groups(duplicates.in_class)),
            ("the same content in two classes", _groups(duplicates.across_classes)),
            ("the same content in two splits", _groups(duplicates.across_splits)),
            (f"classes with fewer than {LEAST} different photographs", [name for name, each in scan.classes.items() if each.few]),
        )
    ]  # fmt: skip
    ignored = scan.ignored.told()
    found.append(("ignored", "; ".join(ignored) if ignored else "nothing"))
    if scan.ignored.suffixes:
        counts = (f"{suffix or 'none'} {count}" for suffix, count in sorted(scan.ignored.suffixes.items()))
        found.append(("suffixes ignored", ", ".join(counts)))
    return found


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of which is the header, as a table. No name of a class can end a cell."""
    head, *others = [[escaped(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def escaped(text: str) -> str:
    """Text that Markdown takes as it is."""
    return "".join(f"\\{each}" if each in "\\|*_`<[" else each for each in text)


def _splits(counts: dict[str, int] | None) -> list[str]:
    return [str(counts[split]) if counts else "-" for split in SPLITS]


def _numbers(found: Range) -> list[str]:
    whole_ones = all(each == int(each) for each in found)
    return [f"{each:.0f}" if whole_ones else f"{each:.2f}" for each in found]


def _groups(groups: Sequence[Sequence[str]]) -> list[str]:
    return [" = ".join(group) for group in groups]
