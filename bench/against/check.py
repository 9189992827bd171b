"""python -m bench.against.check TABLE.json ...: how often the placement that ``defq plan`` names is the best, or within 10 % of it.

A cell is a network, a share of a core, a link, and clean or attacked frames. The plan is given the costs that were measured
at full speed, times what the device is slower, the link as it was set, and as the host's time that of the full speed.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from bench.against import contenders
from bench.against.report import cell_of, cells
from device.planning.costs import read_costs
from device.planning.placements import ATTACKED, CLEAN, DEVICE, JPEG, SPLIT, Link, Placement, Planner

PAIRS = ((contenders.EXITS.name, contenders.EXITS_DEFQ.name), (contenders.SPLIT.name, contenders.SPLIT_DEFQ.name))
NAMES = {DEVICE: contenders.EXITS_DEFQ.name, SPLIT: contenders.SPLIT_DEFQ.name, JPEG: contenders.JPEG.name}
"""The contender that was measured for a placement."""
NEAR = 1.1
ENOUGH = 0.9


class Verdict(NamedTuple):
    """What the plan named in one cell, and how good that was."""

    cell: str
    named: Placement
    best: str
    """The contender with the lowest mean."""
    ratio: float
    """Of the mean of the named placement, as measured, to the best."""

    @property
    def right(self) -> bool:
        return self.ratio <= NEAR


def verdicts(results: dict[str, Any]) -> list[Verdict]:
    """One for each cell of a table."""
    found = []
    for name, network in results["networks"].items():
        full = read_costs({"costs": network["costs"]}, name)
        for share, mbit, attacked in cells(network):
            planner = Planner(full.slower(1 / share), Link(mbit * 1e6, results["rtt_ms"] / 1e3), full.head_ms[-1])
            named = planner.best([5], ATTACKED if attacked else CLEAN, [network["split"]])
            means = placement_means(cell_of(network, share, mbit, attacked), attacked)
            best = min(means, key=lambda each: means[each])
            cell = f"{name}, 1/{round(1 / share)} of the speed, {mbit} Mbit/s, {'attacked' if attacked else 'clean'}"
            found.append(Verdict(cell, named, best, means[NAMES[named.where]] / means[best]))
    return found


def placement_means(rows: dict[str, dict[str, Any]], attacked: bool) -> dict[str, float]:
    """The measured mean milliseconds of each placement. On clean frames DefQ auto is off, so that the rows of a placement with
    and without it measure the same; their mean is taken. Under attack each of them stands for itself."""
    means = {name: float(row["mean_ms"]) for name, row in rows.items()}
    if attacked:
        return means
    for plain, defended in PAIRS:
        pair = [means.pop(each) for each in (plain, defended) if each in means]
        if pair:
            means[defended] = sum(pair) / len(pair)
    return means


def main() -> int:
    found = [each for file in sys.argv[1:] for each in verdicts(json.loads(Path(file).read_text()))]
    for each in found:
        if not each.right:
            print(f"{each.cell}: named {each.named.where}, best {each.best}, {each.ratio:.2f} times its mean")
    right = sum(each.right for each in found)
    print(f"the plan names the best, or within 10 % of it, in {right} of {len(found)} cells ({right / len(found):.0%})")
    return 0 if right >= ENOUGH * len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
