"""defq plan: where a network should run, computed from a ``defq bench`` report of the board and from a link.

It needs no bundle and no camera, so that it runs on the board and on a workstation alike.
"""

import argparse
import json
from typing import Any, Dict, List, Optional

from device.commands.compare import read_report
from device.commands.options import add_debug_option, option_groups
from device.errors import UsageError
from device.link.credentials import add_arguments as add_credentials_arguments
from device.link.credentials import credentials_of
from device.planning.costs import Costs, read_costs
from device.planning.measured_link import measured_link
from device.planning.placements import ATTACKED, CLEAN, DEVICE, JPEG, SPLIT, Expected, Link, Placement, Planner
from device.system.console import aligned
from device.system.files import write_file
from device.system.options import decimal, whole

NOTABLE = 1.1
"""The plan names the best placement under attack where the best for clean frames is slower there by more than this factor."""

EXAMPLES = (
    "defq plan --bench board.json --link 10 --rtt 25",
    "defq plan --bench board.json --host http://192.168.1.20:8000 --host-bench server.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    groups = option_groups(parser)
    groups.source.add_argument("--bench", required=True, metavar="FILE",
        help="report of the board, from defq bench --json FILE with a bundle of --split all")  # fmt: skip
    add = groups.decision.add_argument
    add("--rad", type=whole(0, 100), metavar="PERCENT",
        help="largest relative accuracy drop that is allowed (default: that of the report)")  # fmt: skip
    add = groups.host.add_argument
    add("--link", type=decimal(0.001, 1e5), metavar="MBIT", help="rate of the link to the host, in megabits a second")
    add("--rtt", type=decimal(0, 60000), metavar="MS", help="round trip of the link, in milliseconds")
    add("--host", metavar="URL", help="measure the link to this host instead")
    add("--host-ms", type=decimal(0.001, 60000), metavar="MS", help="time of the host for the whole network")
    add("--host-bench", metavar="FILE",
        help="report of defq bench on the host, which says that time (default: as slow as the board)")  # fmt: skip
    add_credentials_arguments(groups.host)
    groups.output.add_argument("--json", metavar="FILE", help="write all placements as JSON; - for stdout")
    add_debug_option(groups)


def run(arguments: argparse.Namespace) -> int:
    report = read_report(arguments.bench)
    costs = read_costs(report, arguments.bench)
    rads = _rads(costs, int(report["rad"]) if arguments.rad is None else arguments.rad)
    link = _link(arguments)
    host_ms = _host_ms(arguments, costs)
    planner = Planner(costs, link, host_ms)
    best, attacked = planner.best(rads), planner.best(rads, ATTACKED)
    if arguments.json:
        content = {"best": _json(best), "best_attacked": _json(attacked), "link": None if link is None else link._asdict(),
                   "placements": [_json(each) for each in planner.placements(rads)]}  # fmt: skip
        write_file(arguments.json, (json.dumps(content, indent=1) + "\n").encode("ascii"), "--json")
    if arguments.json != "-":
        model = str(report["bundle"]).split("-split")[0]
        print(text(model, costs, link, host_ms, planner.placements(rads), best, attacked))
    return 0


def _rads(costs: Costs, most: int) -> List[int]:
    rads = [rad for rad in sorted(costs.leaving) if rad <= most]
    if not rads:
        raise UsageError(
            "found --rad {}; expected {} or more, which the report has figures for".format(most, min(costs.leaving))
        )
    return rads


def _link(arguments: argparse.Namespace) -> Optional[Link]:
    """The link that was told or is measured; None where neither was asked for.

    Raises:
        UsageError: half of a link, or two.
    """
    told = (arguments.link is not None, arguments.rtt is not None)
    if arguments.host is not None:
        if any(told):
            raise UsageError(
                "found --host with --link or --rtt; expected one of the two: --host measures what the others tell"
            )
        return measured_link(arguments.host, credentials_of(arguments))
    if told[0] != told[1]:
        raise UsageError(
            "found {}; expected both --link MBIT and --rtt MS".format("--link alone" if told[0] else "--rtt alone")
        )
    return Link(arguments.link * 1e6, arguments.rtt / 1e3) if told[0] else None


def _host_ms(arguments: argparse.Namespace, costs: Costs) -> Optional[float]:
    if arguments.host_bench is None:
        return None if arguments.host_ms is None else float(arguments.host_ms)
    if arguments.host_ms is not None:
        raise UsageError("found --host-ms and --host-bench; expected one of them: the report says the same")
    found = read_costs(read_report(arguments.host_bench), arguments.host_bench)
    if len(found.head_ms) != len(costs.head_ms):
        raise UsageError("found a network of {} exits in {} and of {} in {}; expected reports of one bundle".format(
            len(found.head_ms), arguments.host_bench, len(costs.head_ms), arguments.bench))  # fmt: skip
    return found.head_ms[-1]


def text(
    model: str,
    costs: Costs,
    link: Optional[Link],
    host_ms: Optional[float],
    placements: List[Placement],
    best: Placement,
    attacked: Placement,
) -> str:
    """The plan for the console: a table with the best placement of each kind, and what to do."""
    rows = [["", "RAD", "mean ms", "p99 ms", "bytes/frame", "attacked ms", "+ DefQ ms", "p99 ms", "bytes/frame"]]
    for kind in (DEVICE, SPLIT, JPEG):
        some = [each for each in placements if each.where == kind]
        if some:
            each = min(some, key=lambda one: one.clean.mean_ms)
            rows.append([name_of(each), str(each.rad or "-"), *_cells(each.clean), "{:.1f}".format(each.attacked.mean_ms), *_cells(each.defended)])  # fmt: skip
    lines = ["expected, from exit 1 to the end {:.2f} to {:.2f} ms on this board:".format(costs.head_ms[0], costs.head_ms[-1]), aligned(rows), ""]  # fmt: skip
    if link is None:
        lines.append(
            "no link was named, so that only placements without a host were computed; name one with --link and --rtt, or --host"
        )
    else:
        lines.append("link: {} Mbit/s, {:.3g} ms there and back; host: {}".format(_mbit(link), 1e3 * link.rtt_s,
            "as slow as this board, because neither --host-ms nor --host-bench says otherwise" if host_ms is None
            else "{:.3g} ms for the whole network".format(host_ms)))  # fmt: skip
    lines.append("best: " + _told(best, model))
    if best.where == DEVICE and link is not None:
        lines.append("no host is needed: sending a frame takes longer than it saves")
    if best.expected(ATTACKED).mean_ms > NOTABLE * attacked.expected(ATTACKED).mean_ms:
        lines.append("under attack, behind DefQ, {} would be faster: {:.1f} ms instead of {:.1f}".format(
            name_of(attacked), attacked.expected(ATTACKED).mean_ms, best.expected(ATTACKED).mean_ms))  # fmt: skip
    return "\n".join(lines)


def _mbit(link: Link) -> str:
    mbit = link.rate_bit_s / 1e6
    return "more than 1000" if mbit > 1000 else "{:.3g}".format(mbit)


def name_of(placement: Placement) -> str:
    if placement.where == DEVICE:
        return "all on the device"
    if placement.where == JPEG:
        return "JPEG to the host"
    return "split {}, {}".format(placement.split, placement.payload)


def _told(best: Placement, model: str) -> str:
    """The best placement with its mean, and the command that exports it."""
    told = "{}, {:.1f} ms a frame".format(name_of(best), best.expected(CLEAN).mean_ms)
    if best.where == JPEG:
        return told + " (this project has no server for that)"
    split = "all" if best.where == DEVICE else str(best.split)
    told += "; export it with: defq bundle --model {} --split {} --rad {} --out build/{}".format(
        model, split, best.rad, model
    )
    return (
        told
        if best.where == DEVICE
        else told + ", and run it with --host, --payload {} and --defq auto".format(best.payload)
    )


def _cells(expected: Expected) -> List[str]:
    return ["{:.1f}".format(expected.mean_ms), "{:.1f}".format(expected.p99_ms), "{:.0f}".format(expected.bytes)]


def _json(placement: Placement) -> Dict[str, Any]:
    kinds = {name: dict(getattr(placement, name)._asdict()) for name in ("clean", "attacked", "defended")}
    return dict(placement._asdict(), **kinds)
