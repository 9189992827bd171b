"""defq: one program for all commands, of the device, of export/ and of the host, whichever of them are installed."""

import sys
from typing import List, Optional

from device.commands.cli import help_of, run_one, unknown
from device.commands.parts import PARTS, Part, part_of
from device.system.console import open_streams, run_command

PROGRAM = "defq"
DESCRIPTION = "Early-exit image classification at the camera, defended against slow-down attacks."


def main(argv: Optional[List[str]] = None) -> int:
    """Run one command.

    Args:
        argv: default: those of this process.
    """
    open_streams()  # before a command's libraries open files of their own
    given = sys.argv[1:] if argv is None else argv
    return run_command(lambda: _run(given), "--debug" in given)


def _run(argv: List[str]) -> int:
    part = part_of(argv[0]) if argv else None
    if part is None:
        groups = [(_title(each), each.commands() or dict.fromkeys(each.names, ("", ""))) for each in PARTS]
        help_of(PROGRAM, DESCRIPTION, groups).parse_args(argv[:1])
        raise unknown(PROGRAM, argv, [name for each in PARTS for name in each.names])
    known = part.commands()
    if argv[0] not in known:
        raise part.error("found the command {}, which runs {}, but not {}".format(argv[0], part.place, part.missing()))
    return run_one(PROGRAM, argv[0], known, argv[1:])


def _title(part: Part) -> str:
    missing = part.missing()
    return part.place + (" (not installed here: needs {}; {})".format(missing, part.install) if missing else "")


if __name__ == "__main__":
    sys.exit(main())
