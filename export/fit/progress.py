"""What a fit says while it works: one line when a step begins, one when it ends, and how much time is left."""

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence

from device.system.console import duration
from export.fit.job import FitJob
from export.fit.step import Done, Step

INDENT = "    "
SLOWEST, FASTEST = 4.0, 0.25
"""Bounds of the factor by which expected times are corrected."""


class Progress:
    """The lines of one fit, and the estimate of the time left.

    The time of each step is estimated from the trial. What the finished steps of a kind took, divided by what was expected of
    them, corrects the estimates of the other steps of that kind.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self._expected: dict[str, float] = {}
        self._taken: dict[str, float] = {}

    def begins(self, step: Step, job: FitJob, why: str) -> None:
        """Say that a step begins. ``why``: the reason why it is made again, or ""."""
        number = self.steps.index(step)
        if job.state.effort is None:
            told = ""
        else:
            own, rest = self._estimate(step, job), self._left(number + 1, job)
            told = f": about {duration(own)}"
            if rest:
                told += f", then {self._most(number + 1, job)}{duration(rest)} for the other steps"
        print(f"[{number + 1}/{len(self.steps)}] {step.name}{told}{f' ({why})' if why else ''}", flush=True)

    def ends(self, step: Step, job: FitJob, seconds: float, done: Done) -> None:
        """Say what a step made."""
        number = self.steps.index(step)
        if job.state.effort is not None:
            self._expected[step.kind] = self._expected.get(step.kind, 0) + step.expected_s(job)
            self._taken[step.kind] = self._taken.get(step.kind, 0) + seconds
        left = self._left(number + 1, job) if job.state.effort is not None else 0
        told = f"; {self._most(number + 1, job) or 'about '}{duration(left)} left" if left else ""
        print(f"{INDENT}{duration(seconds)}: {done.result}{told}", flush=True)
        if done.left_out:
            print(f"{INDENT}left out: {done.left_out}", flush=True)

    def skipped(self, step: Step, why: str) -> None:
        """Say that a step is not made again."""
        number = self.steps.index(step)
        print(f"[{number + 1}/{len(self.steps)}] {step.name}: {why}", flush=True)

    def _estimate(self, step: Step, job: FitJob) -> float:
        expected = self._expected.get(step.kind, 0)
        factor = self._taken[step.kind] / expected if expected > 1 else 1.0
        return step.expected_s(job) * min(max(factor, FASTEST), SLOWEST)

    def _most(self, first: int, job: FitJob) -> str:
        """ "at most " where some of the steps from ``first`` on were done before, and may not have to be done again."""
        return "at most " if any(step.name in job.state.steps for step in self.steps[first:]) else ""

    def _left(self, first: int, job: FitJob) -> float:
        """Seconds for the steps from ``first`` on."""
        return sum(self._estimate(step, job) for step in self.steps[first:])


class _Indented(io.TextIOBase):
    """Writes lines to stdout, indented."""

    def __init__(self) -> None:
        self._out, self._at_start = sys.stdout, True

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            self._out.write((INDENT if self._at_start else "") + line)
            self._at_start = line.endswith("\n")
        return len(text)

    def flush(self) -> None:
        self._out.flush()


@contextlib.contextmanager
def indented() -> Iterator[None]:
    """What is printed within is indented under the line of its step."""
    with contextlib.redirect_stdout(_Indented()):
        yield
