"""python -m bench [--only PART ...] [--models NAME ...]: measure, print the tables, save build/bench.json."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy loads: DefQ is measured on one thread

import argparse
import importlib
import json
import sys
from pathlib import Path

import cv2

from bench.measure import machine
from bench.subject import subject
from device.system.console import run_command
from export.data.shipped import shipped_names

BUNDLES = Path("build/bundles")
PARTS = {
    "defq": "bench.defq",
    "head": "bench.head",
    "int8": "bench.int8",
    "loop": "bench.loop",
    "host": "bench.host",
    "board": "bench.board",
    "preview": "bench.preview",
    "ceiling": "bench.ceiling",
}
"""Modules with run(subjects) -> JSON-ready results, and report(results) -> a table. Each is imported when it is
asked for: it may need what bench/requirements.txt names."""


def main(argv: list[str] | None = None) -> int:
    shipped = shipped_names()
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure how fast the parts are.")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), help="what to measure (default: all)")
    parser.add_argument(
        "--models",
        nargs="*",
        metavar="MODEL",
        default=shipped,
        help="shipped models, model folders, or NETWORK@SIDE for a network with random weights, such as "
        "efficientnet_lite0@96 (default: what is shipped)",
    )
    parser.add_argument("--split", type=int, default=3, metavar="N", help="exits on the device (default 3); 0 for all")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="default build/bench.json")
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments), arguments.debug)


def _run(arguments: argparse.Namespace) -> int:
    cv2.setNumThreads(1)
    subjects = [subject(model, BUNDLES, arguments.split or None) for model in arguments.models]
    results = {"machine": machine()}
    for name in arguments.only:
        part = importlib.import_module(PARTS[name])
        results[name] = part.run(subjects)
        print("\n" + part.report(results[name]), flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwrote {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
