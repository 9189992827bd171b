"""python -m bench.fleet [--model NAME ...]: how many devices one host can serve; writes OUT/fleet.md, fleet.png and a JSON file
a cell (a network, a case). A cell whose file is there is not measured again, so that a run can be stopped and goes on.

Host and generator have cores of their own: the host the first ones, the generator the next.
"""

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.fleet import report
from bench.fleet.search import LIMIT_MS, MAX_LAG_MS, Step, from_json, search, verdict
from bench.fleet.trace import Trace, record, save
from bench.measure import machine
from device.bundle.reader import Bundle, load_bundle
from device.errors import DataError, EdgeError, UsageError
from device.payload.forms import FORMS, FP32
from device.system.console import run_command
from export.bundle.settings import BundleSettings
from export.bundle.writer import export_bundle
from export.commands.demo import CONDITIONS, host_process
from export.data.shipped import shipped_names

BUILD = Path("build/fleet")
CASES = ("clean", "attacked", "attacked_defq")
# the whole fleet has one address here, for which the host's limits of a client are not meant
NO_LIMITS = ("--client-requests", "100000", "--client-connections", "100000", "--max-connections", "100000")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    add = parser.add_argument
    add("--model", nargs="*", choices=shipped_names(), default=shipped_names(), help="default: all that are shipped")
    add("--bundle", nargs="*", type=Path, metavar="DIR", help="with a frame set; instead of exporting --model")
    add("--images", type=int, default=200, metavar="N", help="in the frame set of an exported bundle (default 200)")
    add("--case", nargs="*", choices=sorted(CONDITIONS), default=CASES, help=f"default: {' '.join(CASES)}")
    add("--payload", nargs="*", choices=FORMS, default=[FP32], help="as the device's --payload (default fp32)")
    add("--rate", type=float, default=15, metavar="FPS", help="frames a second of a camera (default 15)")
    add("--seconds", type=float, default=10, metavar="S", help="of a step's window (default 10)")
    add("--warm-up", type=float, default=2, metavar="S", help="before each window (default 2)")
    add("--limit-ms", type=float, default=LIMIT_MS, metavar="MS", help=f"of p99 (default {LIMIT_MS:g})")
    add("--max-lag-ms", type=float, default=MAX_LAG_MS, metavar="MS", help=f"p99 of the generator's own lag, beyond which a step is void (default {MAX_LAG_MS:g})")  # fmt: skip
    add("--threads", type=int, default=1, metavar="N", help="of the host, and its cores (default 1)")
    add("--fresh", action="store_true", help="measure cells again whose files are there")
    add("--out", type=Path, default=BUILD / "report", metavar="DIR", help=f"default {BUILD / 'report'}")
    add("--debug", action="store_true", help="print the traceback of an error")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments), arguments.debug)


def _run(arguments: argparse.Namespace) -> int:
    cores = _cores(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    bundles = arguments.bundle or [_exported(model, arguments.images) for model in arguments.model]
    cells = []
    for folder in bundles:
        bundle = load_bundle(str(folder))
        for payload, case in itertools.product(arguments.payload, arguments.case):
            file = arguments.out / f"{bundle.model}-{case}-{payload}.json"
            settings = _settings(bundle, case, payload, arguments)
            cell = None if arguments.fresh else kept_cell(file, settings)
            if cell is None:
                cell = {"settings": settings, **measure(folder, case, payload, arguments, cores)}
                file.write_text(json.dumps(cell, indent=1) + "\n")
            cells.append(cell)
    report.write(cells, arguments.out)
    print(f"\n{report.table_of(cells)}\n\nwrote {arguments.out}/fleet.md and fleet.png")
    return 0


def measure(folder: Path, case: str, payload: str, arguments: argparse.Namespace, cores: list[int]) -> dict[str, Any]:
    """One cell: start a host, record a device against it, search the largest fleet."""
    source, defq = CONDITIONS[case]
    file = BUILD / "traces" / f"{load_bundle(str(folder)).model}-{case}-{payload}.npz"
    load = os.getloadavg()[0]  # what else the machine does
    started_s = time.perf_counter()
    with _pinned(cores[:-1]), host_process(folder, "--threads", str(arguments.threads), *NO_LIMITS) as url:
        trace = record(folder, f"bundle:{source}", defq, url, payload)
        save(trace, file)
        print(
            f"{trace.about['bundle']}, {case}: {trace.share_sent:.0%} of {len(trace.requests)} frames sent", flush=True
        )
        play = partial(_play, file, url, arguments, cores[-1])
        judge = partial(verdict, limit_ms=arguments.limit_ms, max_lag_ms=arguments.max_lag_ms)
        served = search(play, arguments.seconds, judge)
    spent_s = time.perf_counter() - started_s
    print(f"    {served.devices} devices in time ({spent_s:.0f} s)", flush=True)
    return {
        "trace": _facts(trace), "devices": served.devices, "limit": served.limit, "machine": machine(), "load": load,
        "spent_s": spent_s,
        "steps": [{**step._asdict(), "verdict": judge(step)} for step in served.steps],
    }  # fmt: skip


def _play(trace: Path, url: str, arguments: argparse.Namespace, core: int, devices: int, seconds: float) -> Step:
    command = [
        sys.executable, "-m", "bench.fleet.generator", str(trace), "--url", url, "--devices", str(devices), "--core", str(core),
        "--rate", str(arguments.rate), "--warm-up", str(arguments.warm_up), "--seconds", str(seconds),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise EdgeError(f"the load generator ended with exit code {done.returncode}: {done.stderr[-500:]}")
    step = from_json(json.loads(done.stdout))
    p99, lag = (each["p99"] if each else 0.0 for each in (step.latency_ms, step.lag_ms))
    judged = verdict(step, arguments.limit_ms, arguments.max_lag_ms)
    failed = sum(step.failures.values())
    print(f"    {devices:5d} devices, {seconds:g} s: p99 {p99:7.1f} ms, {failed} failed, generator's lag {lag:.1f} ms and "
          f"{step.generator_cpu:.0%} of its core: {judged}", flush=True)  # fmt: skip
    return step


def _exported(model: str, images: int) -> Path:
    """A bundle with a frame set. The attacked images are kept from one time to the next (export.attacks.crafting)."""
    return export_bundle(model, BUILD / "bundles" / model, BundleSettings(), frame_count=images)


def _settings(bundle: Bundle, case: str, payload: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What a cell's figures follow from."""
    facts = bundle.manifest.get("frames")
    if not isinstance(facts, dict):
        raise DataError(f"found no frame set in bundle {bundle.path}; expected one; export it again with: defq bundle --model {bundle.model} --frames 200 --out build/{bundle.model}")  # fmt: skip
    kept = ("rate", "seconds", "warm_up", "limit_ms", "max_lag_ms", "threads")
    frames = bundle.manifest["files"][facts["file"]]["sha256"]
    return {"bundle": bundle.id, "model": bundle.model, "frames_sha256": frames, "case": case, "payload": payload, **{name: getattr(arguments, name) for name in kept}}  # fmt: skip


def kept_cell(file: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The cell of an earlier run with the same settings."""
    try:
        cell: dict[str, Any] = json.loads(file.read_text())
        return cell if cell["settings"] == settings else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _facts(trace: Trace) -> dict[str, Any]:
    return {
        **trace.about, "frames": len(trace.requests), "share_sent": trace.share_sent,
        "bytes_a_request": trace.bytes_a_request, "bytes_a_frame": trace.bytes_a_frame,
    }  # fmt: skip


def _cores(threads: int) -> list[int]:
    """The host's cores and, last, the generator's."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not 1 <= threads < len(allowed):
        raise UsageError(
            f"found {len(allowed)} cores that processes can be pinned to and --threads {threads}; expected as many for the "
            "host as its --threads, and one more for the load generator; use Linux, and fewer --threads"
        )
    return allowed[: threads + 1]


@contextlib.contextmanager
def _pinned(cores: list[int]) -> Iterator[None]:
    """What is started meanwhile runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    sys.exit(main())
