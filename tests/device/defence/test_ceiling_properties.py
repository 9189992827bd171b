"""The bound holds for every sequence: frames, thresholds, modes, refusals, restarts, clocks, and attackers who know the level.

hypothesis is not installed where the device's tests run on Python 3.6; test_ceiling.py has what runs there.
"""

import pytest

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from device.defence.budget import MILLION, ByteBudget  # noqa: E402
from device.defence.ceiling import Ceiling, CeilingSettings  # noqa: E402

MODES = ("off", "on", "gated")
shares = st.floats(0.0, 1.0)
ceilings = st.builds(
    lambda threshold, classes, three, gain: (threshold, classes, CeilingSettings(dict(zip(MODES, three)), gain)),
    st.floats(0.0, 1.0), st.integers(2, 1000), st.tuples(shares, shares, shares), st.floats(0.001, 1.0),
)  # fmt: skip
steps = st.one_of(
    st.tuples(st.just("leaves")),
    st.tuples(st.just("stays"), st.floats(allow_nan=True), st.floats(0.0, 1.0)),
    st.tuples(st.just("knows the level"), st.floats(0.0, 1.0)),
    st.tuples(st.just("is as unsure as can be"), st.integers(1, 40)),
    st.tuples(st.just("is refused by the host")),
    st.tuples(st.just("mode"), st.sampled_from(MODES)),
    st.tuples(st.just("restart")),
)


class Watched:
    """A ceiling whose every frame is counted, and the most that was sent beyond the share in any window so far."""

    def __init__(self, threshold, classes, of):
        self.made_of = threshold, classes, of
        self.mode = MODES[0]
        self.ahead = 0  # millionths of a frame that were sent beyond the share since the first frame
        self.lowest = 0
        self.restart()

    def restart(self):
        self.ceiling = Ceiling(*self.made_of)
        threshold, classes, of = self.made_of
        self.capacity = max(1, int((threshold - min(1 / classes, threshold)) / of.gain * MILLION))

    def frame(self, confidence=None, threshold=0.0, taken=True):
        sent = confidence is not None and self.ceiling.admits(confidence, threshold) and taken
        self.ceiling.count(sent, self.mode)
        share = round(self.made_of[2].share(self.mode) * MILLION)
        self.ahead += sent * MILLION - share
        # any window that ends here; the definition's bound has a whole frame in place of what a frame is short of its share
        assert self.ahead - self.lowest <= self.capacity + MILLION - (share if sent else 0)
        self.lowest = min(self.lowest, self.ahead)


@settings(max_examples=400, deadline=None)
@given(ceilings, st.lists(steps, max_size=120))
def test_no_window_of_any_sequence_exceeds_the_bound(made_of, sequence):
    watched = Watched(*made_of)
    threshold, classes, _ = made_of
    for what, *values in sequence:
        if what == "leaves":
            watched.frame()
        elif what == "stays":
            watched.frame(*values)
        elif what == "knows the level":  # a confidence just below what is admitted, to waste as little as possible
            level = watched.ceiling.level
            watched.frame(level * (1 - 1e-9) - 1e-12, threshold)
        elif what == "is as unsure as can be":
            for _ in range(values[0]):
                watched.frame(1 / classes, threshold)
        elif what == "is refused by the host":
            watched.frame(0.0, 1.0, taken=False)
        elif what == "mode":
            watched.mode = values[0]
        else:
            watched.restart()


@settings(max_examples=100, deadline=None)
@given(ceilings, st.integers(0, 300), st.integers(1, 300))
def test_bound_names_what_a_rested_ceiling_lets_through(made_of, rest, frames):
    ceiling, sent = Ceiling(*made_of), 0
    for _ in range(rest):
        ceiling.count(False, "off")
    for _ in range(frames):
        may = ceiling.admits(0.0, 1.0)
        ceiling.count(may, "off")
        sent += may
    assert sent <= ceiling.bound(frames)


clock_steps = st.one_of(
    st.tuples(st.just("time"), st.floats(-1e4, 1e4)),
    st.tuples(st.just("pay"), st.integers(0, 5000)),
    st.tuples(st.just("pay often"), st.integers(1, 50)),
    st.tuples(st.just("restart")),
)


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 10000), st.integers(1, 20000), st.lists(clock_steps, max_size=120))
def test_no_clock_lets_more_bytes_through(per_s, burst, sequence):
    largest, now = 5000, [1e5]
    budget = ByteBudget(per_s, burst, largest, lambda: now[0])
    highest = now[0]
    passed, ahead, lowest = 0.0, 0.0, 0.0  # seconds that a clock without its set-backs shows; bytes beyond their share
    for what, *values in sequence:
        if what == "time":
            now[0] += values[0]
            passed += max(0.0, now[0] - highest)
            ahead -= per_s * max(0.0, now[0] - highest)
            highest = max(highest, now[0])
        elif what == "restart":
            budget, highest = ByteBudget(per_s, burst, largest, lambda: now[0]), now[0]
        else:
            for count in values if what == "pay" else [largest] * values[0]:
                if budget.pay(count):
                    ahead += count
                lowest = min(lowest, ahead)
                assert ahead - lowest <= burst + largest + 1e-3 * per_s  # the clock is read in whole microseconds
        lowest = min(lowest, ahead)
