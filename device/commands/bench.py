"""defq bench: latency, exits, traffic and energy of clean, attacked and defended frames on this machine.

Every condition runs the same pipeline as ``run`` over the bundle's frame set, after a warm-up, for a window of at least
ten seconds: sensors give 10 to 100 readings a second, a frame takes milliseconds, so that only a window can be measured.
"""

import argparse
import csv
import io
import json
import os
import platform
import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional

import cv2
import numpy as np
import onnxruntime

from device import __version__
from device.bundle.frame_set import load_frame_set
from device.cameras.arrays import ArrayCamera
from device.cameras.base import Frame
from device.commands.ceiling_options import add_ceiling_options, ceiling_maker
from device.commands.compare import FORMAT, FORMAT_VERSION, compare
from device.commands.options import POWER_HELP, add_debug_option, add_decision_options, option_groups
from device.commands.session import Session, open_session, stop_on_signals
from device.defence.ceiling import Ceiling
from device.errors import UsageError
from device.loop.sinks import Decision, Sink
from device.planning.costs import measure_costs
from device.power.base import Meter
from device.power.open import open_sensor
from device.system.board import board_model, temperature_c, throttling
from device.system.console import aligned
from device.system.files import write_file
from device.system.options import decimal

PERCENTILES = (50, 90, 99)
LEAST_RATE = 0.001  # frames a second


class Condition(NamedTuple):
    """Which frames are shown, behind which defence (a mode of the controller), and whether a ceiling bounds what is sent."""

    name: str
    attacked: bool
    mode: str
    ceiling: bool = False


CONDITIONS = (
    Condition("clean", False, "off"),
    Condition("clean + DefQ", False, "on"),
    Condition("clean + gated DefQ", False, "gated"),
    Condition("attacked", True, "off"),
    Condition("attacked + DefQ", True, "on"),
    Condition("attacked + gated DefQ", True, "gated"),
    Condition("clean + ceiling", False, "off", True),
    Condition("attacked + ceiling", True, "off", True),
    Condition("attacked + DefQ + ceiling", True, "on", True),
)

EXAMPLES = (
    "defq bench --bundle build/vgg16 --json before.json",
    "defq bench --compare before.json after.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    groups = option_groups(parser)
    add = groups.source.add_argument
    add(
        "--seconds",
        type=decimal(0.1, 3600),
        default=10,
        metavar="S",
        help="measure each condition for this long (default 10)",
    )
    add(
        "--warm-up",
        type=decimal(0, 3600),
        default=2,
        metavar="S",
        help="run each condition for this long before (default 2)",
    )
    add("--rate", type=decimal(LEAST_RATE, 1000), metavar="FPS",
        help="show this many frames a second (default: as many as the device can decide on)")  # fmt: skip
    add_decision_options(groups, bundle_required=False)
    add_ceiling_options(groups, live=False)
    add = groups.output.add_argument
    add("--power", default="auto", metavar="SENSOR", help=POWER_HELP)
    add("--json", metavar="FILE", help="write the figures as JSON, for --compare; - for stdout")
    add("--csv", metavar="FILE", help="write the figures as CSV; - for stdout")
    add("--compare", nargs=2, metavar="FILE", help="measure nothing: show two reports of --json side by side")
    add_debug_option(groups)


class _Window(ArrayCamera):
    """Frames until ``end_s``, time.perf_counter(), but at least one."""

    end_s = 0.0

    def read(self) -> Optional[Frame]:
        return None if self._next and time.perf_counter() >= self.end_s else super().read()


class _Collector(Sink):
    """Keeps what the figures need of each decision."""

    def __init__(self) -> None:
        self.ms: Dict[str, List[float]] = {}

    def write(self, decision: Decision, frame: Frame, pixels: np.ndarray) -> None:
        for stage, value in decision.ms.items():
            self.ms.setdefault(stage, []).append(value)


def run(arguments: argparse.Namespace) -> int:
    """Measure, or compare two reports."""
    if arguments.compare:
        print(compare(*arguments.compare))
        return 0
    if not arguments.bundle:
        raise UsageError("found no --bundle; expected a bundle with a frame set, or --compare A.json B.json")
    session = open_session(arguments)
    try:
        report = measure(session, arguments)
    finally:
        session.close()
    # what goes to stdout for another program stands there alone
    print(text(report), file=sys.stderr if "-" in (arguments.json, arguments.csv) else sys.stdout, flush=True)
    if arguments.json:
        write_file(arguments.json, (json.dumps(report, indent=1) + "\n").encode("ascii"), "--json")
    if arguments.csv:
        write_file(arguments.csv, to_csv(report).encode("utf-8"), "--csv")
    return 0


def measure(session: Session, arguments: argparse.Namespace) -> Dict[str, Any]:
    """The figures of all conditions, ready for JSON. Ctrl-C ends it early; conditions that are complete then are in the figures."""
    frames = load_frame_set(session.bundle)
    sensor = open_sensor(arguments.power)
    stop = stop_on_signals()
    print("{} on {}; {} frames of each kind; power: {}".format(
        session.bundle.id, session.engine.name, len(frames.labels), sensor.name), file=sys.stderr, flush=True)  # fmt: skip
    idle_w = None
    if sensor.kind != "none":
        print("measuring idle power for {:.0f} s".format(arguments.seconds), file=sys.stderr, flush=True)
        with Meter(sensor) as meter:
            stop.wait(arguments.seconds)
        idle_w = meter.reading.mean_w
    report: Dict[str, Any] = {
        "format": FORMAT, "format_version": FORMAT_VERSION, "bundle": session.bundle.id, "engine": session.engine.name,
        "rad": session.rad, "threshold": session.threshold, "host": arguments.host, "rate": arguments.rate,
        "machine": machine(), "sensor": {"name": sensor.name, "scope": sensor.scope, "kind": sensor.kind},
        "idle_w": idle_w, "conditions": {},
    }  # fmt: skip
    impossible = {mode for mode, reason in session.controller("off").modes.items() if reason}
    make_ceiling = ceiling_maker(arguments, session.bundle, session.rad, live=True)
    bounded = session.host is not None and make_ceiling() is not None
    for condition in CONDITIONS:
        if condition.mode in impossible or (condition.ceiling and not bounded):  # the bundle has no gate, no ceiling
            continue
        if stop.is_set():
            break
        print("{}: {:.0f} s".format(condition.name, arguments.seconds), file=sys.stderr, flush=True)
        pixels = frames.attacked if condition.attacked else frames.clean
        ceiling = make_ceiling() if condition.ceiling else None
        _window(session, pixels, frames.labels, condition, ceiling, arguments.warm_up, arguments.rate, stop)
        started_c = temperature_c()
        with Meter(sensor) as meter:
            seconds = arguments.seconds
            figures = _window(session, pixels, frames.labels, condition, ceiling, seconds, arguments.rate, stop)
        if stop.is_set():
            break
        reading = meter.reading
        figures.update(
            energy_j=reading.energy_j, mean_w=reading.mean_w, energy_samples=reading.samples, energy_problem=reading.problem,
            j_per_frame=net_j(reading.energy_j, idle_w, reading.duration_s, figures["frames"]),
            temperature_c=[started_c, temperature_c()], throttling=throttling().names(),
        )  # fmt: skip
        report["conditions"][condition.name] = figures
    if not session.bundle.has_tail and not stop.is_set():
        print("costs of the exits", file=sys.stderr, flush=True)
        report["costs"] = measure_costs(session.bundle, session.engine, frames).to_json()
    return report


def net_j(energy_j: Optional[float], idle_w: Optional[float], duration_s: float, frames: int) -> Optional[float]:
    """Joules a frame beyond what the machine takes at idle; None where there is no sensor."""
    if energy_j is None or idle_w is None or not frames:
        return None
    return (energy_j - idle_w * duration_s) / frames


def _window(
    session: Session, pixels: np.ndarray, labels: np.ndarray, condition: Condition, ceiling: Optional[Ceiling],
    seconds: float, rate: Optional[float], stop: Any,
) -> Dict[str, Any]:  # fmt: skip
    """The figures of a run of so many seconds."""
    sink = _Collector()
    pipeline = session.pipeline(session.controller(condition.mode), sink, ceiling)
    camera = _Window(pixels, labels, name=condition.name, loop=True, rate=rate)
    cpu_s, started_s = time.process_time(), time.perf_counter()
    camera.end_s = started_s + seconds
    pipeline.run(camera, stop=stop)  # in one piece: at its end the run waits for the answers that are on their way
    spent_s = time.perf_counter() - started_s
    cpu_s = time.process_time() - cpu_s
    figures = pipeline.summary.to_dict()
    stages = {stage: dict(zip(map("p{}".format, PERCENTILES), np.percentile(values, PERCENTILES).tolist()))
              for stage, values in sink.ms.items()}  # fmt: skip
    kept = ("frames", "sources", "t3_er", "efcy", "accuracy", "exit_histogram", "frames_to_host", "bytes_to_host",
            "most_sent", "ceiling")  # fmt: skip
    return dict(
        {name: figures[name] for name in kept if name in figures},
        seconds=spent_s, frames_per_s=figures["frames"] / spent_s, cpu_share=cpu_s / spent_s, stage_ms=stages,
    )  # fmt: skip


def machine() -> Dict[str, Any]:
    """The machine and the versions that the figures depend on."""
    return {
        "board": board_model(), "system": platform.platform(), "cores": os.cpu_count(),
        "python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__,
        "onnxruntime": onnxruntime.__version__, "device": __version__,
    }  # fmt: skip


def rows(report: Dict[str, Any], console: bool = False) -> List[List[str]]:
    """A table of the report, the first row its heading.

    Args:
        console: whether accuracy is in percent and energy in millijoules, so that two decimals are enough for both.
    """
    accuracy, energy = ("accuracy %", "mJ/frame") if console else ("accuracy", "J/frame")
    table = [["condition", "frames/s", "p50 ms", "p90 ms", "p99 ms", "T3-ER", "to host", "kB/frame", accuracy, energy,
              "deg C", "throttled"]]  # fmt: skip
    for name, figures in report["conditions"].items():
        total = figures["stage_ms"]["total"]
        celsius = figures["temperature_c"][1]
        joules = figures["j_per_frame"]
        if console:
            right = "{:.2f}".format(100 * figures["accuracy"])
            spent = "unavailable" if joules is None else "{:.2f}".format(1000 * joules)
        else:
            right = "{:.3f}".format(figures["accuracy"])
            spent = "unavailable" if joules is None else "{:.4f}".format(joules)
        table.append([
            name, "{:.1f}".format(figures["frames_per_s"]), *("{:.2f}".format(total["p{}".format(each)]) for each in PERCENTILES),
            "{:.2f}".format(figures["t3_er"]), "{:.0%}".format(figures["frames_to_host"] / figures["frames"]),
            "{:.1f}".format(figures["bytes_to_host"] / figures["frames"] / 1000), right, spent,
            "?" if celsius is None else "{:.0f}".format(celsius), ", ".join(figures["throttling"]) or "no",
        ])  # fmt: skip
    return table


def text(report: Dict[str, Any]) -> str:
    """The report for the console."""
    sensor = report["sensor"]
    problems = [figures["energy_problem"] for figures in report["conditions"].values() if figures["energy_problem"]]
    if problems:
        energy = "energy: unavailable ({})".format(problems[0])
    else:
        energy = "energy {} by {} ({}), net of {} W idle".format(
            sensor["kind"], sensor["name"], sensor["scope"],
            "?" if report["idle_w"] is None else "{:.2f}".format(report["idle_w"]))  # fmt: skip
    stages = [["ms a stage, p50 / p99", *report["conditions"]]]
    names: List[str] = []
    for figures in report["conditions"].values():
        names += [stage for stage in figures["stage_ms"] if stage not in names]
    for stage in names:
        cells = [figures["stage_ms"].get(stage) for figures in report["conditions"].values()]
        stages.append(
            [stage, *("-" if each is None else "{:.2f} / {:.2f}".format(each["p50"], each["p99"]) for each in cells)]
        )
    exits = [["frames at exit", *report["conditions"]]]
    histograms = [figures["exit_histogram"] for figures in report["conditions"].values()]
    for number, counts in enumerate(zip(*histograms), 1):
        if any(counts):
            exits.append([str(number), *map(str, counts)])
    parts = [aligned(rows(report, console=True)), energy, aligned(stages), aligned(exits)]
    return "\n\n".join(["", *parts])


def to_csv(report: Dict[str, Any]) -> str:
    """The table as CSV, with a row a condition."""
    out = io.StringIO()
    csv.writer(out).writerows(rows(report))
    return out.getvalue()
