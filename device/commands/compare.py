"""defq bench --compare A.json B.json: two reports side by side."""

from typing import Any, Dict, List, Optional

from device.errors import DataError
from device.system.console import aligned
from device.system.files import read_bounded
from device.system.json_text import read_json, shown
from device.system.printable import printable

FORMAT = "sdn-edge-bench"
FORMAT_VERSION = 1
MAX_BYTES = 16 << 20


def read_report(name: str) -> Dict[str, Any]:
    """A report of ``bench --json``.

    Raises:
        DataError: it is absent, or is no such report.
    """
    try:
        report = read_json(read_bounded(name, MAX_BYTES))
        if report["format"] != FORMAT or report["format_version"] != FORMAT_VERSION:
            raise ValueError("found format {} version {}".format(report["format"], report["format_version"]))
        for figures in report["conditions"].values():
            _figures(figures)
        if not isinstance(report["machine"], dict):
            raise ValueError("found machine {}".format(shown(report["machine"])))
    except OSError as error:
        raise DataError("could not read {} ({}); expected a report; make one with: defq bench --bundle DIR --json FILE".format(
            name, error.strerror)) from error  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise DataError("found no bench report in {} ({}: {}); expected what this release writes; make one with: "
                        "defq bench --bundle DIR --json FILE".format(name, type(error).__name__, error)) from error  # fmt: skip
    return dict(report)


def _figures(condition: Dict[str, Any]) -> Dict[str, Optional[float]]:
    """The figures of a condition that are compared: name and unit -> value."""
    total = condition["stage_ms"]["total"]
    energy = condition["j_per_frame"]
    return {
        "frames/s": float(condition["frames_per_s"]),
        "p50 ms": float(total["p50"]),
        "p99 ms": float(total["p99"]),
        "to host %": 100.0 * condition["frames_to_host"] / condition["frames"],
        "kB/frame": condition["bytes_to_host"] / condition["frames"] / 1000.0,
        "accuracy %": 100.0 * float(condition["accuracy"]),
        "mJ/frame": None if energy is None else 1000.0 * float(energy),
    }


def compare(first: str, second: str) -> str:
    """A table: each figure of both reports and the second's ratio to the first, for the conditions that both have.

    Raises:
        DataError: a file that is no report, or two without a condition in common.
    """
    reports = [read_report(name) for name in (first, second)]
    both = [name for name in reports[0]["conditions"] if name in reports[1]["conditions"]]
    if not both:
        raise DataError("found no condition in both {} and {}; expected two reports; make them with: defq bench --bundle DIR --json FILE".format(
            first, second))  # fmt: skip
    lines: List[str] = []
    for name in ("bundle", "engine", "rad", "host", "rate"):
        values = [report.get(name) for report in reports]
        if values[0] != values[1]:
            lines.append("different {}: {} and {}".format(name, *values))
    machines = [report["machine"] for report in reports]
    for name in sorted(set(machines[0]) | set(machines[1])):
        values = [machine.get(name) for machine in machines]
        if values[0] != values[1]:
            lines.append("different {}: {} and {}".format(name, *values))
    table = [["condition", "figure", "A", "B", "B / A"]]
    for name in both:
        figures = [_figures(report["conditions"][name]) for report in reports]
        for figure, before in figures[0].items():
            after = figures[1][figure]
            cells = ["unavailable" if each is None else "{:.2f}".format(each) for each in (before, after)]
            ratio = "-" if before is None or after is None or not before else "{:.2f}".format(after / before)
            table.append([name, figure, *cells, ratio])
    heading = ["A: {}".format(first), "B: {}".format(second), *lines]  # names and values that others wrote
    shown_table = [[printable(cell) for cell in row] for row in table]
    return "\n".join([*map(printable, heading), "", aligned(shown_table)])
