"""python -m bench.fleet.mixed --bundle DIR: does one attacked camera slow the clean ones down that share its host?

Clean devices and one attacked device send what a device really sent (bench/fleet/trace.py), each with a token of its own, so
that the host tells them apart. Four conditions take turns: the clean devices alone, with the attacked one, with the attacked
one behind its ceiling, and with the attacked one where the host has a --rate for each client. Prints the latency of the frames
of the clean devices.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.fleet.__main__ import NO_LIMITS, _cores, _pinned
from bench.fleet.trace import Trace, load, record, save
from bench.measure import table
from device.bundle.reader import load_bundle
from device.errors import EdgeError, UsageError
from device.payload.forms import FP32
from device.system.console import run_command
from export.commands.demo import host_process

ALONE, BESIDE, CEILING, RATE = (
    "clean alone",
    "attacked beside",
    "attacked behind its ceiling",
    "attacked, host with --rate",
)
FRAMES = 1000
"""Of a trace: the frame set again and again."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet.mixed", description=__doc__)
    add = parser.add_argument
    add("--bundle", type=Path, required=True, metavar="DIR", help="with a frame set and a ceiling")
    add("--clean", type=int, default=20, metavar="N", help="clean devices (default 20)")
    add("--rate", type=float, default=15, metavar="FPS", help="frames a second of a clean camera (default 15)")
    add("--attacked-rate", type=float, default=15, metavar="FPS", help="of the attacked camera (default 15)")
    add(
        "--host-rate", type=float, default=15, metavar="HZ", help="the host's --rate in the last condition (default 15)"
    )
    add("--rounds", type=int, default=3, metavar="N", help="windows of each condition (default 3)")
    add("--seconds", type=float, default=10, metavar="S", help="of a window (default 10)")
    add("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    add("--debug", action="store_true", help="print the traceback of an error")
    add("--window", metavar="JSON", help=argparse.SUPPRESS)  # the program starts itself: Locust changes a process
    arguments = parser.parse_args(argv)
    if arguments.window:
        play_window(**json.loads(arguments.window))
        return 0
    return run_command(lambda: _run(arguments), arguments.debug)


def _run(arguments: argparse.Namespace) -> int:
    if not load_bundle(str(arguments.bundle)).ceiling:
        raise UsageError(
            f"found no ceiling in {arguments.bundle}; expected one; export it again where calibration images are"
        )
    cores = _cores(1)
    names = [f"device{number}" for number in range(arguments.clean + 1)]
    tokens = [f"{name}-token-of-the-fleet" for name in names]
    windows: dict[str, list[dict[str, Any]]] = {name: [] for name in (ALONE, BESIDE, CEILING, RATE)}
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as stack:
        folder = Path(work)
        (folder / "tokens").write_text("".join(f"{name}:{token}\n" for name, token in zip(names, tokens, strict=True)))
        (folder / "tokens").chmod(0o600)
        options = ("--threads", "1", "--token-file", str(folder / "tokens"), *NO_LIMITS)
        traces = _recorded(arguments.bundle, folder)
        about = {name: trace.share_sent for name, trace in traces.items()}
        print(f"frames sent: {', '.join(f'{name} {share:.0%}' for name, share in about.items())}", flush=True)
        with _pinned(cores[:-1]):
            url = stack.enter_context(host_process(arguments.bundle, *options))
            limited = stack.enter_context(host_process(arguments.bundle, *options, "--rate", str(arguments.host_rate)))
        for number in range(arguments.rounds):
            for name, kept in windows.items():
                window = {
                    "clean": str(folder / "clean.npz"), "attacked": str(folder / f"{'ceiling' if name == CEILING else 'attacked'}.npz"),
                    "attackers": int(name != ALONE), "url": limited if name == RATE else url, "devices": arguments.clean,
                    "rates": [arguments.rate, arguments.attacked_rate], "tokens": tokens, "seconds": arguments.seconds, "core": cores[-1],
                }  # fmt: skip
                command = [
                    sys.executable,
                    "-m",
                    "bench.fleet.mixed",
                    "--bundle",
                    str(arguments.bundle),
                    "--window",
                    json.dumps(window),
                ]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise EdgeError(f"the load generator ended with exit code {done.returncode}: {done.stderr[-500:]}")
                kept.append(json.loads(done.stdout))
                print(
                    f"    round {number + 1}, {name}: p99 {kept[-1]['clean']['latency_ms']['p99']:.2f} ms", flush=True
                )
    report = {
        "shares": about,
        "load": os.getloadavg()[0],
        "windows": windows,
        "settings": {key: str(value) for key, value in vars(arguments).items()},
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print("\n" + told(windows))
    return 0


def _recorded(bundle: Path, folder: Path) -> dict[str, Trace]:
    """What a device sends of clean frames, of attacked ones, and of attacked ones behind the bundle's ceiling."""
    traces = {}
    with host_process(bundle, "--threads", "1") as url:
        ask = partial(record, bundle, defq="off", url=url, payload=FP32)
        for name, source, ceiling in (
            ("clean", "clean", "off"),
            ("attacked", "attacked", "off"),
            ("ceiling", "attacked", "bundle"),
        ):
            traces[name] = ask(
                source=f"bundle:{source}?loop=1", options=("--frames", str(FRAMES), "--ceiling", ceiling)
            )
            save(traces[name], folder / f"{name}.npz")
    return traces


def play_window(
    clean: str,
    attacked: str,
    attackers: int,
    url: str,
    devices: int,
    rates: list[float],
    tokens: list[str],
    seconds: float,
    core: int,
) -> None:
    """One window; prints its figures for the clean devices and for the attacked one."""
    from bench.fleet.generator import CameraUser, Window, run_window
    from device.link.endpoint import endpoint_of

    os.sched_setaffinity(0, {core})
    opens_s = time.perf_counter() + 2
    windows, users = [], []
    for number, (name, trace, count) in enumerate((("Clean", clean, devices), ("Attacked", attacked, attackers))):
        if not count:
            continue
        windows.append(Window(opens_s, opens_s + seconds))
        values = {
            "requests": load(Path(trace)).requests, "endpoint": endpoint_of(url), "window": windows[-1], "rate": rates[number],
            "tokens": tuple(tokens), "fixed_count": count,
        }  # fmt: skip
        users.append(type(name, (CameraUser,), values))
    cpu = run_window(users, devices + attackers, windows)
    figures = dict(zip(("clean", "attacked"), (each.figures() for each in windows), strict=False))
    print(json.dumps({**figures, "generator_cpu": cpu}), flush=True)


def told(windows: dict[str, list[dict[str, Any]]]) -> str:
    """A table: medians over the windows of a condition."""
    rows = [
        [
            "",
            "clean: p50 ms",
            "p99 ms",
            "to clean alone",
            "failed",
            "attacked: answered in a window",
            "refused in a window",
        ]
    ]
    base = np.median([each["clean"]["latency_ms"]["p99"] for each in windows[ALONE]])
    for name, kept in windows.items():
        p50, p99 = (float(np.median([each["clean"]["latency_ms"][which] for each in kept])) for which in ("p50", "p99"))
        failed = sum(sum(each["clean"]["failures"].values()) for each in kept)
        there = [each["attacked"] for each in kept if "attacked" in each]
        counts = [(each["answered"], sum(each["failures"].values())) for each in there]
        about = [f"{np.mean(each):.0f}" for each in zip(*counts, strict=True)] if counts else ["-", "-"]
        rows.append([name, f"{p50:.2f}", f"{p99:.2f}", f"{p99 / base:.2f}", str(failed), *about])
    return table(rows)


if __name__ == "__main__":
    sys.exit(main())
