"""python -m bench.against.why TABLE.json ...: why attacked frames behind DefQ auto take longer than clean ones.

For all exits on the device, the mean of clean frames as measured, and what is added to it, each as a multiple of it: DefQ's own time, exits
that DefQ does not restore, and the rest: frames before the alarm, which are not treated, and the spread of the measurement. The first
two are computed from the measured times to each exit and the shares of frames that leave there.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from bench.against import contenders
from bench.against.report import cell_of
from bench.measure import table
from device.planning.costs import Costs, read_costs

RAD = 5


class Parts(NamedTuple):
    """Of one network at one speed. All but the first two are multiples of ``clean_ms``."""

    clean_ms: float
    treated: float
    """Share of the attacked frames that were behind DefQ; nan where the table does not have it."""
    total: float
    defq: float
    not_restored: float
    rest: float


def parts(network: dict[str, Any], name: str, share: float) -> Parts:
    """Of the attacked frames with all exits on the device and DefQ auto."""
    costs = read_costs({"costs": network["costs"]}, name).slower(1 / share)
    mbit = min(row["mbit"] for row in network["rows"] if row["mbit"])
    clean = cell_of(network, share, mbit, False)
    attacked = cell_of(network, share, mbit, True)[contenders.EXITS_DEFQ.name]
    clean_ms = (clean[contenders.EXITS.name]["mean_ms"] + clean[contenders.EXITS_DEFQ.name]["mean_ms"]) / 2
    defq = (costs.defq_ms - costs.treat_ms) / clean_ms
    not_restored = (_head_ms(costs, "attacked + DefQ") - _head_ms(costs, "clean")) / clean_ms
    total = attacked["mean_ms"] / clean_ms
    return Parts(
        clean_ms, attacked.get("quantised", float("nan")), total, defq, not_restored, total - 1 - defq - not_restored
    )


def _head_ms(costs: Costs, condition: str) -> float:
    return sum(share * ms for share, ms in zip(costs.leaving[RAD][condition].shares, costs.head_ms, strict=True))


def main() -> int:
    rows = [
        [
            "network",
            "speed",
            "clean ms",
            "attacked, DefQ auto / clean",
            "DefQ itself",
            "exits not restored",
            "the rest",
            "frames behind DefQ",
        ]
    ]
    for file in sys.argv[1:]:
        for name, network in json.loads(Path(file).read_text())["networks"].items():
            for share in sorted({row["share"] for row in network["rows"]}, reverse=True):
                found = parts(network, name, share)
                rows.append(
                    [
                        name, f"1/{round(1 / share)}", f"{found.clean_ms:.2f}", f"{found.total:.2f}",
                        *(f"{each:+.2f}" for each in (found.defq, found.not_restored, found.rest)), "-" if found.treated != found.treated else f"{found.treated:.0%}",
                    ]
                )  # fmt: skip
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
