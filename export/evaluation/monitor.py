"""Measures the attack monitor (device/defence/monitor.py) on test images.

Streams of frames are drawn at random with replacement, so that frames are independent of their neighbours. The exits of all
images are computed once. The monitor that sees them is the one that runs on the device.
"""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from device.defence.monitor import FALSE_ALARM_FRAMES, Monitor
from device.loop.exits import exit_histogram
from export.calibration.attacked_images import attacked
from export.calibration.model import shipped_model
from export.calibration.monitor import exits_of, monitor_of
from export.data.images import Dataset
from export.defences import defence_named
from export.evaluation.markdown import markdown_table
from export.evaluation.rows import MonitorRow, Watched
from export.networks.weights import to_tensor

SPLIT = 3
MIXES = (1.0, 0.5, 0.2)
"""Shares of frames that are attacked."""
PHASE = 1000  # frames before, during and after an attack in the closed loop
PATIENCE = 2  # frames to wait for each change of mind, as a multiple of the stated frames between two false alarms


class Streams(NamedTuple):
    """The exits that clean and attacked images take on the device, from 1, or 0 where the frame did not leave; each
    int64 (n, 2): without DefQ and with DefQ."""

    clean: np.ndarray
    attacked: np.ndarray

    def draw(self, mix: float, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """``count`` frames, each attacked with probability ``mix``: their exits, int64 (count, 2), and which of them are
        attacked, bool (count,)."""
        harmed = generator.random(count) < mix
        attacked, clean = (each[generator.integers(len(each), size=count)] for each in (self.attacked, self.clean))
        return np.where(harmed[:, None], attacked, clean), harmed


def watch(data: Dataset, models: tuple[str, ...], clean: int, harmed: int, runs: int) -> list[MonitorRow]:
    """What the monitor does at every RAD with SPLIT exits on the device.

    Args:
        clean, harmed: number of test images, from the first on, that are shown clean and attacked. Many clean images are
            needed: if one in a hundred more of them leaves early, false alarms become half as frequent.
        runs: number of simulations of each wait. The mean has a relative error of about 1 / sqrt(runs).
    """
    rows: list[MonitorRow] = []
    for name in models:
        model = shipped_model(name)
        table, shares = monitor_of(model)
        images, few = data.test.take(clean), data.test.take(harmed)
        shown = attacked("linf", model, data, few, defence_named("none"))
        kinds = [exits_of(model, table, each) for each in (to_tensor(images.pixels), shown)]
        for rad, threshold in model.thresholds.items():
            about = Watched(
                model=name, rad=rad, threshold=threshold, split=SPLIT, clean_images=len(images.labels), attacked_images=len(few.labels)
            )  # fmt: skip
            streams = Streams(*(np.where(each[rad] < SPLIT, each[rad] + 1, 0) for each in kinds))
            rows += simulate(Monitor(shares[rad], SPLIT), streams, runs, about)
    return rows


def simulate(monitor: Monitor, streams: Streams, runs: int, about: Watched) -> list[MonitorRow]:
    """The rows of ``watch`` for one network and RAD. ``monitor`` has seen no frame, and copies of it are used."""
    events = [("alarm", False), ("alarm", True), ("all-clear", True)]
    conditions = [(*event, mix) for event in events for mix in (0.0, *MIXES)]
    rows: list[MonitorRow] = []
    with tqdm(total=len(conditions) + len(MIXES), desc="Monitor", unit=" conditions", disable=None) as bar:
        for event, defq, mix in conditions:
            waits = _waits(monitor, streams, event == "all-clear", defq, mix, runs)
            rows.append(MonitorRow(**vars(about), event=event, defq="on" if defq else "off", mix=mix, **vars(waits)))
            bar.update()
        for mix in MIXES:
            loop = _closed_loop(monitor, streams, mix, runs)
            rows.append(MonitorRow(**vars(about), event="auto", defq="auto", mix=mix, **vars(loop)))
            bar.update()
    return rows


@dataclass(frozen=True)
class _Waits:
    """How long a monitor took to change its mind: fields of MonitorRow."""

    frames: int
    changes: int
    exit_histogram: tuple[int, ...]
    mean: float | None = None
    median: float | None = None
    p95: float | None = None


def _waits(monitor: Monitor, streams: Streams, believes: bool, defq: bool, mix: float, runs: int) -> _Waits:
    """How many frames pass until a monitor changes its mind, measured up to ``runs`` times.

    Args:
        believes: whether the monitor believes in an attack at the start of each wait.
    """
    monitor = copy.copy(monitor)  # copies share the limits, which take long to compute
    monitor.attacked = believes
    generator = np.random.default_rng(0)
    waits: list[int] = []
    since, frames, histogram = 0, 0, np.zeros(SPLIT + 1, np.int64)
    while len(waits) < runs and frames < runs * PATIENCE * monitor.false_alarm_frames:
        exits = streams.draw(mix, PHASE, generator)[0][:, int(defq)]
        for exit_ in exits.tolist():
            since += 1
            if monitor.see(exit_, defq):
                waits.append(since)
                since, monitor.attacked = 0, believes
        frames += len(exits)
        histogram += exit_histogram(exits, SPLIT + 1)
    counts = frames, len(waits), tuple(np.roll(histogram, -1).tolist())
    if not waits:
        return _Waits(*counts)
    # the frames of the last, unfinished wait count in the mean; without them it would be too low
    figures = frames / len(waits), np.median(waits), np.percentile(waits, 95)
    return _Waits(*counts, *(round(float(each), 1) for each in figures))


@dataclass(frozen=True)
class _ClosedLoop:
    """What was quantised in the closed loop: fields of MonitorRow."""

    frames: int
    attacked_quantised: float
    clean_quantised: float
    exit_histogram: tuple[int, ...]


def _closed_loop(monitor: Monitor, streams: Streams, mix: float, runs: int) -> _ClosedLoop:
    """The closed loop: DefQ is on while the monitor believes in an attack. Each run has PHASE clean frames, PHASE frames of
    which the share ``mix`` is attacked, and PHASE clean frames."""
    generator = np.random.default_rng(0)
    counts = np.zeros(
        (2, 2), np.int64
    )  # rows: frames outside the attack, attacked frames; columns: not quantised, quantised
    histogram = np.zeros(SPLIT + 1, np.int64)
    for _ in range(runs):
        watching = copy.copy(monitor)
        for during in (0.0, mix, 0.0):
            exits, harmed = streams.draw(during, PHASE, generator)
            for pair, is_harmed in zip(exits.tolist(), harmed.tolist(), strict=True):
                defq = watching.attacked
                watching.see(pair[defq], defq)
                histogram[pair[defq]] += 1
                if is_harmed or not during:
                    counts[int(is_harmed), int(defq)] += 1
    shares = counts[:, 1] / np.maximum(counts.sum(axis=1), 1)
    clean, attacked = (round(float(share), 4) for share in shares)
    return _ClosedLoop(int(histogram.sum()), attacked, clean, tuple(np.roll(histogram, -1).tolist()))


def monitor_report(rows: list[MonitorRow], title: str) -> str:
    """Markdown: alarms, all-clears and the closed loop at every RAD."""
    first = rows[0]
    parts = [
        "# The attack monitor",
        "",
        f"{first.clean_images:,} clean {title}, {first.attacked_images:,} under L-inf in 8 bit, "
        f"{first.split} exits on the device; frames drawn at random with replacement. Waits in frames: mean / median / "
        f"95th percentile; for false alarms the mean and its standard error. Stated are {FALSE_ALARM_FRAMES:,} frames in the "
        "mean between two false alarms, and between two false all-clears under attack. These are sensitive to how often "
        "clean frames leave early: with one in a hundred less, false alarms come about twice as often. By chance alone "
        f"such a share of {first.clean_images:,} images is off by up to {50 / first.clean_images**0.5:.1f} in a "
        "hundred (standard error), and so is what the monitor knows from its calibration images.",
    ]
    for rad in dict.fromkeys(row.rad for row in rows):
        at = [row for row in rows if row.rad == rad]
        parts += [
            "",
            f"## RAD {rad} %",
            "",
            "Frames until the alarm, by share of attacked frames; the monitor starts from nothing:",
            "",
            _waits_table(at, "alarm", "clean (false alarms)"),
            "",
            "Frames until the all-clear after an alarm; with attacked frames it is a false one:",
            "",
            _waits_table(at, "all-clear", "clean (the attack is over)"),
            "",
            f"`--defq auto`, {PHASE:,} clean frames, {PHASE:,} of an attack, {PHASE:,} clean ones: frames that were quantised",
            "",
            _loop_table(at),
        ]
    return "\n".join(parts) + "\n"


def _waits_table(rows: list[MonitorRow], event: str, clean: str) -> str:
    waits = {(row.model, row.defq, row.mix): row for row in rows if row.event == event}
    lines = [["network", "DefQ", clean, *(f"{mix:.0%} attacked" for mix in MIXES)]]
    for model, defq in dict.fromkeys(key[:2] for key in waits):
        lines.append([model, defq, *(_wait(waits[model, defq, mix]) for mix in (0.0, *MIXES))])
    return markdown_table(lines)


def _wait(row: MonitorRow) -> str:
    if row.changes is None or row.mean is None or row.changes < 10:  # too few for a mean
        return f"{row.changes} in {row.frames:,}"
    if (
        row.event == "alarm" and not row.mix
    ):  # nearly a geometric distribution: the error follows from the number of alarms
        return f"{row.mean:,.0f} ± {row.mean / row.changes**0.5:,.0f}"
    return f"{row.mean:,.0f} / {row.median:,.0f} / {row.p95:,.0f}"


def _loop_table(rows: list[MonitorRow]) -> str:
    lines = [
        [
            "network",
            *(f"attacked, at {mix:.0%}" for mix in MIXES),
            *(f"clean before and after, at {mix:.0%}" for mix in MIXES),
        ]
    ]
    loops = {(row.model, row.mix): row for row in rows if row.event == "auto"}
    for model in dict.fromkeys(key[0] for key in loops):
        found = [loops[model, mix] for mix in MIXES]
        shares = [*(each.attacked_quantised for each in found), *(each.clean_quantised for each in found)]
        lines.append([model, *(f"{share:.2f}" for share in shares)])
    return markdown_table(lines)
