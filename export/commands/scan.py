"""defq scan: what a folder of photographs holds, as a table."""

import argparse
import json
from pathlib import Path

from device.errors import DataError
from device.system.console import warn
from device.system.options import whole
from export.commands.options import add_debug, add_group
from export.data.output import check_writable, write_output
from export.data.scan import scan_folder
from export.data.scan_report import lines

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
        print("\n".join(lines(scan)))
    for warning in scan.warnings:
        warn(warning)
    if scan.problems:
        first, *others = scan.problems
        for problem in others:
            warn(str(problem))
        raise first
    return 0
