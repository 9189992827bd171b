"""python -m bench.hostile --bundle DIR --out FILE.json: what honest clients see of the host while hostile ones are at work.

Starts the host of --checkout for each fault of bench/hostile/faults on a free port of 127.0.0.1. Writes FILE.json, and
FILE.md with one table; run it on two checkouts to compare them. Linux only: memory and processor time are read from /proc.
"""

import argparse
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.hostile import faults
from bench.hostile.measure import ROOT, Fault, measure
from bench.measure import machine, table
from device.errors import UsageError
from device.system.console import run_command

NAMES = sorted(each.name for each in pkgutil.iter_modules(faults.__path__))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    add = parser.add_argument
    add("--bundle", type=Path, required=True, metavar="DIR", help="what the host serves")
    add("--checkout", type=Path, default=ROOT, metavar="DIR", help="whose host is measured (default: this one)")
    add("--only", nargs="*", choices=NAMES, default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    add("--seconds", type=float, default=8, metavar="S", help="of each of the two phases (default 8)")
    add("--out", type=Path, default=Path("build/hostile.json"), metavar="FILE.json", help="default build/hostile.json")
    add("--debug", action="store_true", help="print the traceback of an error")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments), arguments.debug)


def _run(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.seconds <= 600:
        raise UsageError(f"found --seconds {arguments.seconds:g}; expected 1 to 600")
    checkout, bundle = arguments.checkout.resolve(), arguments.bundle.resolve()
    if not (checkout / "host" / "__main__.py").exists():
        raise UsageError(f"found no host in --checkout {arguments.checkout}; expected a checkout of this project")
    results: dict[str, Any] = {"commit": _commit(checkout), "bundle": bundle.name, "seconds": arguments.seconds, "machine": machine(), "faults": {}}  # fmt: skip
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        results["faults"][name] = measure(_fault(name), checkout, bundle, arguments.seconds)
        print(report({name: results["faults"][name]}).splitlines()[-1], flush=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")  # after each: an interruption loses one
    text = report(results["faults"])
    arguments.out.with_suffix(".md").write_text(text + "\n")
    print(f"\n{text}\n\nwrote {arguments.out} and {arguments.out.with_suffix('.md')}")
    return 0


def report(results: dict[str, Any]) -> str:
    """One line a fault: without it -> under it."""
    rows = [["fault", "honest requests answered", "p50, ms", "p99, ms", "most memory, MiB", "health answered, slowest"]]
    for each in results.values():
        if "attacked" not in each:
            rows.append([each["description"], each["failed"].replace("\n", " "), "-", "-", "-", "-"])
            continue
        quiet, attacked = each["quiet"], each["attacked"]

        def pair(part: str, key: str, quiet: Any = quiet, attacked: Any = attacked) -> str:
            return f"{quiet[part][key]:.1f} -> {attacked[part][key]:.1f}"

        def share(part: str, seen: Any) -> str:
            return f"{seen[part]['answered']}/{seen[part]['asked']}"

        memory = " -> ".join("ended" if seen["peak_mb"] is None else f"{seen['peak_mb']:.0f}" for seen in (quiet, attacked))  # fmt: skip
        health = f"{share('health', attacked)}, {attacked['health']['most_ms']:.0f} ms"
        requests = f"{share('requests', quiet)} -> {share('requests', attacked)}"
        rows.append([each["description"], requests, pair("requests", "p50_ms"), pair("requests", "p99_ms"), memory, health])  # fmt: skip
    return table(rows)


def _fault(name: str) -> Fault:
    module = importlib.import_module(f"{faults.__name__}.{name}")
    return Fault(name, module.DESCRIPTION, module.OPTIONS, getattr(module, "OPEN_FILES", None))


def _commit(checkout: Path) -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=checkout, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
