"""python -m bench.hostile.attacker FAULT PORT SECONDS: one fault, for as long and at the lowest priority: a hostile client
works on a machine of its own, so its own work should take as little as possible of what the host and the honest have.
The token, if it has one, is in the environment."""

import contextlib
import importlib
import os
import sys
import threading

TOKEN = "BENCH_HOSTILE_TOKEN"  # the name of the environment variable


def main() -> None:
    fault, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    with contextlib.suppress(OSError, AttributeError):
        os.nice(19)
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set)
    timer.daemon = True
    module = importlib.import_module(f"bench.hostile.faults.{fault}")
    timer.start()
    module.attack(port, stop, os.environ.get(TOKEN))
    os._exit(0)  # what its threads still wait for is of no use


if __name__ == "__main__":
    main()
