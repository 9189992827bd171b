"""defq scan: what a folder of photographs holds, as a table."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from device.errors import DataError
from device.system.console import aligned, warn
from device.system.options import whole
from export.commands.options import add_debug, add_group
from export.data.listing import LEAST, SPLITS, named, shown
from export.data.output import check_writable, write_output
from export.data.scan import BY_CONTENT, BY_FOLDERS, BY_GROUP, BY_PARTICIPANT, Range, Scan, scan_folder

NARROW = 0.5
"""Share of a photograph that a crop leaves out, from which it is worth a word."""

EXAMPLES = (
    "defq scan photographs/",
    "defq scan photographs/ --group 'person[0-9]+' --size 128 --json build/scan.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photographs", type=Path, metavar="PHOTOS", help="class folders of images")
    add_group(parser)
    parser.add_argument("--size", type=whole(1, 4096), default=96, help="side of the network's input in pixels (default 96)")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="the same, and all names, as JSON")
    add_debug(parser)


def run(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.photographs
    if not folder.is_dir():
        raise DataError(f"found no folder {folder}; expected class folders of images; name another")
    if arguments.json and str(arguments.json) != "-":
        check_writable(arguments.json)
    scan = scan_folder(folder, (arguments.size, arguments.size), arguments.group)
    if arguments.json:
        write_output(arguments.json, json.dumps(scan.as_json(), indent=1) + "\n")
    if str(arguments.json) != "-":
        print("\n".join(told(scan)))
    for warning in scan.warnings:
        warn(warning)
    if scan.problems:
        first, *others = scan.problems
        for problem in others:
            warn(str(problem))
        raise first
    return 0


def told(scan: Scan) -> list[str]:
    """The report, line by line."""
    lines = [aligned(_classes(scan)), "", _how_split(scan), ""]
    ranges = (("width", scan.width), ("height", scan.height), ("width / height", scan.aspect))
    if scan.width:
        rows = [["pixels", "min", "median", "max"], *([name, *_numbers(found)] for name, found in ranges if found)]
        lines += [aligned(rows), ""]
    if scan.cut_off and scan.cut_off.max > 0:
        word = f"crop to {scan.size[1]} x {scan.size[0]} leaves out {scan.cut_off.median:.0%} of a photograph (median), {scan.cut_off.max:.0%} at most"  # fmt: skip
        lines.append(word + ("; letterbox keeps all" if scan.cut_off.max >= NARROW else ""))
    duplicates = scan.duplicates
    for words, names in (
        (f"smaller than {scan.size[1]} x {scan.size[0]}", scan.small),
        ("corrupt", [f"{shown(file)}: {reason}" for file, reason in scan.corrupt.items()]),
        ("the same content within a class", _groups(duplicates.in_class)),
        ("the same content in two classes", _groups(duplicates.across_classes)),
        ("the same content in two splits", _groups(duplicates.across_splits)),
        (f"classes with fewer than {LEAST} different photographs", [name for name, each in scan.classes.items() if each.few]),
    ):  # fmt: skip
        lines.append(f"{words}: {len(names)}{f' ({named(list(map(shown, names)))})' if names else ''}")
    ignored = scan.ignored.told()
    lines.append(f"ignored: {'; '.join(ignored) if ignored else 'nothing'}")
    if scan.ignored.suffixes:
        lines.append("suffixes ignored: " + ", ".join(f"{suffix or 'none'} {count}" for suffix, count in sorted(scan.ignored.suffixes.items())))  # fmt: skip
    return lines


def _classes(scan: Scan) -> list[list[str]]:
    table = [["class", "photographs", "different", *SPLITS]]
    counts = list(scan.classes.values())
    for name, each in scan.classes.items():
        table.append([shown(name), str(each.readable), str(each.different), *_splits(each.splits)])
    total = {split: sum(each.splits[split] for each in counts if each.splits) for split in SPLITS}
    sums = [str(sum(each.readable for each in counts)), str(sum(each.different for each in counts))]
    return [*table, ["all", *sums, *_splits(total if counts[0].splits else None)]]


def _splits(counts: dict[str, int] | None) -> list[str]:
    return [str(counts[split]) if counts else "-" for split in SPLITS]


def _how_split(scan: Scan) -> str:
    return {
        BY_FOLDERS: "split: the folders as they are",
        BY_GROUP: f"split: by the groups of --group '{scan.group}', which stay together",
        BY_CONTENT: "split: by the content of each photograph; photographs of one person or one video should stay together: see --group",
        BY_PARTICIPANT: "split: by participants; these are the public hand-sign digits",
    }[scan.how_split]


def _numbers(found: Range) -> list[str]:
    whole_ones = all(each == int(each) for each in found)
    return [f"{each:.0f}" if whole_ones else f"{each:.2f}" for each in found]


def _groups(groups: Sequence[Sequence[str]]) -> list[str]:
    return [" = ".join(group) for group in groups]
