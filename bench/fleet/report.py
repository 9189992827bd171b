"""The table and the plot of a fleet measurement."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import ScalarFormatter

from bench.fleet.search import PATIENCE_MS
from bench.measure import table
from export.evaluation.demo_report import TITLES

COLOURS = {"clean": "#2a9d8f", "attacked": "#e76f51", "attacked_defq": "#264653"}
LINKS_MBIT_S = {"100 Mbit/s": 100, "1 Gbit/s": 1000}
HEAD = (
    "network", "case", "payload", "frames sent", "accuracy", "kB a sent frame", "Mbit/s a device", *(f"devices a {link}" for link in LINKS_MBIT_S),
    "devices a host", "times attacked", "answers/s", "p99 there, ms", "late from", "p99 there, ms",
)  # fmt: skip


def mbit_s(cell: dict[str, Any]) -> float:
    """A device's mean traffic: whole HTTP requests, without the headers of TCP and IP (3 % more)."""
    traffic: float = cell["trace"]["bytes_a_frame"] * 8 * cell["settings"]["rate"] / 1e6
    return traffic


def p99_at(cell: dict[str, Any], devices: int) -> float | None:
    """Median over the longest windows of this fleet; a step with failures counts as the patience of a device, 2 s."""
    steps = [step for step in cell["steps"] if step["devices"] == devices and step["verdict"] != "void"]
    longest = max((step["seconds"] for step in steps), default=0)
    values = [_p99(step) for step in steps if step["seconds"] == longest]
    return float(np.median(values)) if values else None


def _p99(step: dict[str, Any]) -> float:
    if step["failures"]:
        return PATIENCE_MS
    return float(step["latency_ms"]["p99"]) if step["latency_ms"] else 0.0


def table_of(cells: list[dict[str, Any]]) -> str:
    """One row a cell, Markdown."""
    rows = [list(HEAD)]
    attacked = {_panel(cell): cell["devices"] for cell in cells if cell["settings"]["case"] == "attacked"}
    for cell in cells:
        settings, trace, devices = cell["settings"], cell["trace"], cell["devices"]
        traffic = mbit_s(cell)
        base = attacked.get(_panel(cell))
        late = [step["devices"] for step in cell["steps"] if step["devices"] > devices and step["verdict"] == "late"]
        first_late = min(late, default=None)
        rows.append([
            settings["model"], TITLES[settings["case"]], ", ".join(trace["forms"]), f"{trace['share_sent']:.0%}",
            "-" if trace["accuracy"] is None else f"{trace['accuracy']:.2f}", f"{trace['bytes_a_request'] / 1e3:.1f}",
            f"{traffic:.2f}", *(str(int(limit / traffic)) if traffic else "-" for limit in LINKS_MBIT_S.values()),
            devices_text(cell), f"{devices / base:.1f}" if base else "-",
            f"{devices * settings['rate'] * trace['share_sent']:.0f}", _ms(p99_at(cell, devices)),
            "-" if first_late is None else str(first_late), "-" if first_late is None else _ms(p99_at(cell, first_late)),
        ])  # fmt: skip
    return table(rows)


def devices_text(cell: dict[str, Any]) -> str:
    """The fleet, marked where it is not the host that sets its size."""
    if cell["limit"] == "unrest":
        return f"{cell['devices']}? (the machine was not quiet)"
    return (
        str(cell["devices"]) if cell["limit"] == "host" else f"at least {cell['devices']} (the {cell['limit']}'s limit)"
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else "no answers" if value >= PATIENCE_MS else f"{value:.0f}"


def _panel(cell: dict[str, Any]) -> tuple[str, str]:
    """What is compared with each other: the cases of a network in one payload form."""
    return cell["settings"]["model"], cell["settings"]["payload"]


def write(cells: list[dict[str, Any]], folder: Path) -> None:
    """fleet.md and fleet.png."""
    _plot(cells, folder / "fleet.png")
    settings, facts = cells[0]["settings"], cells[0]["machine"]
    void = sum(step["verdict"] == "void" for cell in cells for step in cell["steps"])
    steps = sum(len(cell["steps"]) for cell in cells)
    lags = [step["lag_ms"]["p99"] for cell in cells for step in cell["steps"] if step["lag_ms"] and step["verdict"] == "ok"]  # fmt: skip
    about = f"""\
# How many devices one host serves

Cameras of {settings["rate"]:g} frames/s; a host on {settings["threads"]} core(s) of {facts["cpu"]}; a fleet counts as served when the 99th
percentile of the latency of the frames that devices send is at most {settings["limit_ms"]:g} ms and every one is answered. The latency
counts from when the camera took the frame to the whole answer, over loopback; the device's own part (DefQ and the head) is not in it.
Each device plays the frames of the bundle's frame set as `defq run` sent them, from a place and phase of its own, open loop.
"Late from" is the smallest fleet that was late. The columns of links are arithmetic: what fits by mean traffic, without TCP's headers.

{table_of(cells)}

![p99 against the number of devices](fleet.png)

{steps} windows of up to {settings["seconds"]:g} s, {void} of them void, because the load generator (Locust, on a core of its own) itself
sent frames more than {settings["max_lag_ms"]:g} ms late at the 99th percentile. In those that were in time its lag was at most {max(lags, default=0):.1f} ms.
ONNX Runtime {facts["packages"]["onnxruntime"]}, Python {facts["python"]}. Load of the machine before a cell: up to {max(cell["load"] for cell in cells):.1f}
(what the cell before left is in it).
"""
    (folder / "fleet.md").write_text(about)


def _plot(cells: list[dict[str, Any]], file: Path) -> None:
    names = list(dict.fromkeys(map(_panel, cells)))
    figure, panels = plt.subplots(1, len(names), figsize=(4.4 * len(names), 4), sharey=True, squeeze=False, constrained_layout=True)  # fmt: skip
    for panel, name in zip(panels[0], names, strict=True):
        for cell in (cell for cell in cells if _panel(cell) == name):
            case = cell["settings"]["case"]
            fleets, values = _curve(cell)
            panel.plot(fleets, values, "o-", color=COLOURS.get(case), markersize=3.5, linewidth=1.2,
                       label=f"{TITLES[case]}: {cell['devices']} devices")  # fmt: skip
            panel.axvline(cell["devices"], color=COLOURS.get(case), linewidth=0.8, linestyle=":")
        panel.axhline(cells[0]["settings"]["limit_ms"], color="grey", linewidth=0.8, linestyle="--")
        panel.set_xscale("log", base=2)  # the search doubles
        panel.set(yscale="log", title=", ".join(name), xlabel="devices")
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.yaxis.set_major_formatter(ScalarFormatter())
        panel.legend(frameon=False, fontsize=8, loc="upper left")
    panels[0][0].set_ylabel("p99 of the latency, ms (2000 = no answer)")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _curve(cell: dict[str, Any]) -> tuple[list[int], list[float]]:
    fleets: Iterable[int] = sorted({step["devices"] for step in cell["steps"]})
    points = [(devices, p99_at(cell, devices)) for devices in fleets]
    known = [(devices, value) for devices, value in points if value]
    return [devices for devices, _ in known], [value for _, value in known]
