"""python -m bench [--only defq|head|loop|host|board|preview] [--models NAME ...]: print the tables, save build/bench.json."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy loads: DefQ is measured on one thread

import argparse
import json
from pathlib import Path

import cv2

from bench import board, defq, head, host, loop, preview
from bench.measure import machine
from export.bundle.writer import BundleSettings, export_bundle
from export.calibration.table_reader import shipped_table
from export.networks.registry import network_names

BUNDLES = Path("build/bundles")
PARTS = ("defq", "head", "loop", "host", "board", "preview")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--models", nargs="*", choices=network_names(), default=network_names())
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    for model in arguments.models:
        export_bundle(model, BUNDLES / model, BundleSettings())
    results = {"machine": machine()}
    if "defq" in arguments.only:
        results["defq"] = defq.run(shipped_table("vgg16").steps)
        print("\n" + defq.report(results["defq"]), flush=True)
    for name, part in (("head", head), ("loop", loop), ("host", host), ("board", board), ("preview", preview)):
        if name in arguments.only:
            results[name] = part.run(BUNDLES, arguments.models)
            print("\n" + part.report(results[name]), flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwrote {arguments.out}")


if __name__ == "__main__":
    main()
