"""python -m bench.against: measure all ways to run the networks, clean and attacked, on fast and slow devices and links."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy loads: devices and hosts run on one thread

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.against.contenders import CONTENDERS, Contender
from bench.against.report import plot, table
from bench.against.slower import preferred
from bench.measure import machine
from device.bundle.reader import load_bundle
from device.errors import EdgeError, UsageError
from device.power.base import Meter
from device.power.open import open_sensor
from device.system.console import run_command
from tests.faults import link as lines

SPEEDS = (1.0, 1 / 2, 1 / 6, 1 / 9)
"""Shares of the speed of one thread here; 1/2 stands in for a Raspberry Pi 5, 1/6 for a Pi 4, 1/9 for a Jetson Nano."""
LINKS_MBIT = (1, 10, 100)
RTT_MS = 25
PORTS = {"split": 8101, "plain": 8102, "jpeg": 8103}
LIMIT_S = 1.0


class Cell(NamedTuple):
    """Where and with what frames a contender is measured. mbit: 0 for those that use no link."""

    share: float
    mbit: int
    attacked: bool
    contender: Contender


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.against", description=__doc__)
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="of write_contenders, one for each network"
    )
    parser.add_argument(
        "--rounds", type=int, default=2, help="passes over all cells, each with other frames (default 2)"
    )
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help=f"longest window (default {LIMIT_S})")
    parser.add_argument("--out", type=Path, default=Path("build/against.json"), help="default build/against.json")
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments), arguments.debug)


def _run(arguments: argparse.Namespace) -> int:
    missing = lines.missing()
    if missing:
        raise UsageError(f"{missing}; expected a link that can be emulated; run it as root on Linux")
    sensor = open_sensor("auto")
    results: dict[str, Any] = {
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "rtt_ms": RTT_MS,
        "sensor": sensor.name,
        "networks": {},
    }
    for folder in arguments.folders:
        results["networks"][folder.name] = measure(folder, arguments.rounds, arguments.limit_s, results)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))
    plot(results, arguments.out.with_suffix(".png"))
    print(f"wrote {arguments.out}")
    return 0


def measure(folder: Path, rounds: int, limit_s: float, results: dict[str, Any]) -> dict[str, Any]:
    """The figures of one network: the costs at full speed, and a row for each cell."""
    sensor = open_sensor("auto")
    with running(folder) as (link, device, urls):
        results["link"] = link.kind
        costs = ask(device, {"costs": True})
        cells = [Cell(share, mbit, attacked, each) for share in SPEEDS for mbit in LINKS_MBIT for attacked in (False, True)
                 for each in CONTENDERS if each.uses_link or mbit == LINKS_MBIT[0]]  # fmt: skip
        found: dict[Cell, list[dict[str, Any]]] = {cell: [] for cell in cells}
        for number in range(rounds):
            order = np.random.default_rng(number).permutation(len(cells))
            for place in order:
                cell = cells[place]
                link.set(lines.Quality(delay_s=RTT_MS / 2e3, rate_bit_s=cell.mbit * 1e6))
                with Meter(sensor) as meter:
                    window = ask(device, {"contender": cell.contender.name, "share": cell.share, "attacked": cell.attacked, "start": number,
                                          "step": rounds, "limit_s": limit_s, "urls": urls})  # fmt: skip
                window["energy_j"] = meter.reading.energy_j
                found[cell].append(window)
    split = load_bundle(str(folder / "split")).split
    return {"split": split, "costs": costs, "rows": [row(cell, windows) for cell, windows in found.items()]}


def row(cell: Cell, windows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a cell over all rounds."""
    ms = [each for window in windows for each in window["ms"]]
    energy = [window["energy_j"] for window in windows]
    return {
        "share": round(cell.share, 4), "mbit": cell.mbit if cell.contender.uses_link else None, "attacked": cell.attacked,
        "contender": cell.contender.name, "where": cell.contender.where, "exits": cell.contender.exits, "defq": cell.contender.defq,
        "frames": len(ms), "mean_ms": float(np.mean(ms)), "p50_ms": float(np.percentile(ms, 50)), "p99_ms": float(np.percentile(ms, 99)),
        "bytes": sum(window["bytes"] for window in windows) / len(ms), "cpu_ms": sum(window["cpu_ms"] for window in windows) / len(ms),
        "accuracy": sum(window["right"] for window in windows) / len(ms),
        "quantised": sum(window["quantised"] for window in windows) / len(ms), "fallback": sum(window["fallback"] for window in windows),
        "payload": sorted({each for window in windows for each in window["payload"]}),
        "j": None if None in energy else sum(energy) / len(ms),
    }  # fmt: skip


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[lines.Link, "subprocess.Popen[str]", dict[str, str]]]:
    """The link with three hosts at its far side and the device at its near side."""
    link, started = lines.Link(), []
    try:
        serve = [sys.executable, "-m", "host", "serve", "--address", lines.FAR, "--threads", "1"]
        for name, port in PORTS.items():
            command = [*serve, "--port", str(port), "--bundle", str(folder / name)]
            if name == "jpeg":
                command = [
                    sys.executable,
                    "-m",
                    "bench.against.jpeg_host",
                    str(folder / "whole.onnx"),
                    lines.FAR,
                    str(port),
                ]
            started.append(link.far(*command, stdout=subprocess.DEVNULL))
        urls = {name: f"http://{lines.FAR}:{port}" for name, port in PORTS.items()}
        wait_ready(link, urls)
        with link.near():
            device = subprocess.Popen(
                [sys.executable, "-m", "bench.against.device", str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        started.append(device)
        assert device.stdout is not None
        if not device.stdout.readline():
            raise EdgeError(f"found no device for {folder}; expected the files of write_contenders in it")
        with preferred([os.getpid(), *(each.pid for each in started)]):
            yield link, device, urls
    finally:
        for process in started:
            process.kill()
            process.wait()
        link.close()


def wait_ready(link: lines.Link, urls: dict[str, str]) -> None:
    """Until all hosts answer."""
    program = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + '/v2/health/ready', timeout=1)"
    for url in urls.values():
        for _ in range(100):
            with link.near():
                if subprocess.run([sys.executable, "-c", program, url], capture_output=True).returncode == 0:
                    break
            time.sleep(0.2)
        else:
            raise EdgeError(f"found no host at {url}")


def ask(device: "subprocess.Popen[str]", order: dict[str, Any]) -> dict[str, Any]:
    """Give the device an order and wait for its answer."""
    assert device.stdin is not None
    assert device.stdout is not None
    print(json.dumps(order), file=device.stdin, flush=True)
    answer = device.stdout.readline()
    if not answer:
        raise EdgeError(f"the device ended at the order {order}; run python -m bench.against.device by hand to see why")
    found: dict[str, Any] = json.loads(answer)
    return found


if __name__ == "__main__":
    sys.exit(main())
