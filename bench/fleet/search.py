"""The largest fleet that a host serves in time: doubling, then bisection, then both ends once more."""

from collections.abc import Callable
from typing import Any, NamedTuple

LIMIT_MS = 100.0  # of the latency's 99th percentile
MAX_LAG_MS = 5.0
PATIENCE_MS = 2000.0  # of a device; what a frame without an answer counts as
SHORT_S = 3.0  # window while the fleet is doubled, where differences are large
MOST_DEVICES = 4096
MOST_STEPS = 24  # some twelve do where the machine is quiet
TRIES = 2  # how often a void step is measured


class Step(NamedTuple):
    """One window of a fleet. JSON-ready as ``_asdict()``."""

    devices: int
    seconds: float
    frames: int
    """Taken by all cameras in the window."""
    answered: int
    failures: dict[str, int]
    """Reason -> frames that went to the host and got no answer, or another than 200."""
    latency_ms: dict[str, float] | None
    """p50, p99 and max over the frames that were sent, from when the camera took them; None where none was."""
    lag_ms: dict[str, float] | None
    """The same of how late the generator itself sent frames that had a free connection."""
    generator_cpu: float
    """Share of a core that the generator took."""


class Served(NamedTuple):
    """What a search found."""

    devices: int
    """The largest fleet served in time; 0 where not even one device is."""
    limit: str
    """What ended the search: ``host`` (larger fleets are late), ``generator`` (they are void), ``search`` (no larger ones
    are tried), or ``unrest`` (the same fleets were late at one time and in time at another)."""
    steps: list[Step]
    """All, in the order in which they ran."""


def verdict(step: Step, limit_ms: float = LIMIT_MS, max_lag_ms: float = MAX_LAG_MS) -> str:
    """``ok``, ``late``, or ``void`` where the generator itself lagged and its lag may have decided."""
    latency = step.latency_ms["p99"] if step.latency_ms else 0.0
    failed = sum(step.failures.values())
    if failed > 0.01 * (step.answered + failed):
        latency = PATIENCE_MS
    lag = step.lag_ms["p99"] if step.lag_ms else 0.0
    if lag > max_lag_ms and latency - lag <= limit_ms:
        return "void"
    return "late" if failed or latency > limit_ms else "ok"


def search(
    play: Callable[[int, float], Step], seconds: float, judge: Callable[[Step], str] = verdict, start: int = 4
) -> Served:
    """Find the largest fleet whose steps are ok.

    Doubles from ``start`` with short windows, halves the interval with full ones to about 6 %, and then asks both ends
    again until each has the same verdict twice. An end that had the wrong one moves, in growing leaps, and so on.

    Args:
        play: (devices, seconds) -> Step.
        seconds: a full window.
        judge: ``verdict`` with its limits.
    """
    steps: list[Step] = []
    heard: dict[int, list[str]] = {}  # verdicts of full windows

    def ask(devices: int, window_s: float) -> str:
        for _ in range(TRIES):
            steps.append(play(devices, window_s))
            found = judge(steps[-1])
            if found != "void":
                break
        if window_s == seconds:
            heard.setdefault(devices, []).append(found)
        return found

    def settled(devices: int) -> str | None:
        """The verdict that this fleet had twice."""
        verdicts = heard.get(devices, [])
        return next((each for each in ("ok", "late", "void") if verdicts.count(each) > 1), None)

    def settle(devices: int) -> str:
        while not (found := settled(devices)):
            ask(devices, seconds)
        return found

    good, bad, short_s = 0, start, min(SHORT_S, seconds)
    while ask(bad, short_s) == "ok" or ask(bad, short_s) == "ok":  # late twice: a hiccup must not end it
        good, bad = bad, 2 * bad
        if bad > MOST_DEVICES:
            return Served(good, "search", steps)
    leap, limit = 1, "unrest"
    while len(steps) < MOST_STEPS:
        apart = max(1, good // 16)
        while bad - good > apart:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if (settled(middle) or ask(middle, seconds)) == "ok" else (good, middle)
        if good and settle(good) != "ok":
            good, bad = max(0, good - leap * apart), good
        elif (ended := settle(bad)) == "ok":
            good, bad = bad, bad + leap * apart
        else:
            limit = {"late": "host", "void": "generator"}[ended]
            break
        leap *= 2
    return Served(good, limit, steps)


def from_json(fields: dict[str, Any]) -> Step:
    """A Step that ``_asdict()`` gave."""
    return Step(**{name: fields[name] for name in Step._fields})
