"""Stand-ins for slower boards, and priority for what is measured.

A device of one n-th of the speed is made by waiting: after each piece of work, the process waits n - 1 times the processor time
that the work took. A quota of the processor (cpu.max of a cgroup) was tried first. Linux gives it out in slices of 1 ms at least,
so that frames of less than a millisecond were not slowed at all, and longer ones by chance.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from device.engines.base import Engine, HeadResult

WEIGHT = 50
"""Times the usual share of the processor."""


class Pace:
    """Slows this process down: ``catch_up`` waits for what was computed since the last call. share: of the speed, 0 to 1."""

    def __init__(self) -> None:
        self.share = 1.0
        self._since_s = time.process_time()

    def catch_up(self) -> None:
        owed_s = (1 / self.share - 1) * (time.process_time() - self._since_s)
        end_s = time.perf_counter() + owed_s
        if owed_s > 0.001:
            time.sleep(owed_s - 0.0005)
        while time.perf_counter() < end_s:
            pass
        self._since_s = time.process_time()

    def start(self) -> None:
        """Nothing is owed."""
        self._since_s = time.process_time()


class SlowedEngine(Engine):
    """An engine at a pace. What is owed for the treatment of the frame is paid here too."""

    def __init__(self, engine: Engine, pace: Pace) -> None:
        self.name = engine.name
        self._engine = engine
        self._pace = pace

    def run(self, image: np.ndarray, threshold: float, defq: bool = False) -> HeadResult:
        result = self._engine.run(image, threshold, defq)
        self._pace.catch_up()
        return result


@contextlib.contextmanager
def preferred(pids: list[int]) -> Iterator[None]:
    """Put processes into a cgroup of their own with WEIGHT, so that other programs of the machine disturb them little. Where no
    cgroup can be made, they run as they are."""
    groups = [("/sys/fs/cgroup/cpu", "cpu.shares", 1024 * WEIGHT), ("/sys/fs/cgroup", "cpu.weight", 100 * WEIGHT)]
    made = []
    for pid in pids:
        for root, name, weight in groups:
            group = Path(root, f"defq-against-{pid}")
            try:
                if (
                    not Path(root, name.split(".")[0] + ".shares").exists()
                    and not Path(root, "cgroup.controllers").exists()
                ):
                    continue
                group.mkdir()
                made.append(group)
                (group / name).write_text(str(weight))
                (group / "cgroup.procs").write_text(str(pid))
                break
            except OSError:
                continue
    try:
        yield
    finally:
        for group in made:
            with contextlib.suppress(OSError):
                for pid_text in (group / "cgroup.procs").read_text().split():
                    (group.parent / "cgroup.procs").write_text(pid_text)
            with contextlib.suppress(OSError):
                group.rmdir()
