"""The rungs that auto climbs and comes down again."""

import numpy as np
import pytest

from device.defence.ladder import DEFQ, PEACE, TWIN, Ladder, TwinShares
from device.defence.monitor import ExitShares, Monitor

SHARES = ExitShares(
    *(np.array(each) for each in ([0.8, 0.12, 0.08], [0.05, 0.15, 0.8], [0.75, 0.15, 0.1], [0.4, 0.25, 0.35]))
)
"""Two exits on the device and one behind it; a blind attack is undone by DefQ."""
TWINS = TwinShares(np.array([0.6, 0.3, 0.1]), np.array([0.4, 0.35, 0.25]))
CLEAN, BLIND, KNOWING = "clean", "blind", "knowing"


class Stream:
    """Frames whose exits are drawn from the shares of the rung that they meet."""

    def __init__(self, twin=TWINS, seed=0, ready=True):
        self.ladder = Ladder(Monitor(SHARES, 2), SHARES, 2, twin)
        self.random = np.random.RandomState(seed)
        self.changes = []
        self.rungs = []
        self.ready = ready

    def run(self, kind, count):
        for _ in range(count):
            rung = self.ladder.rung
            self.rungs.append(rung)
            if rung == TWIN:
                shares, last = (TWINS.clean if kind == CLEAN else TWINS.attacked), 3
            elif rung == DEFQ:
                shares, last = (
                    {CLEAN: SHARES.clean_defq, BLIND: SHARES.attacked_defq, KNOWING: SHARES.attacked}[kind],
                    0,
                )
            else:
                shares, last = (SHARES.clean if kind == CLEAN else SHARES.attacked), 0
            exit_ = 1 + int(self.random.choice(3, p=shares))
            if self.ladder.see(rung, last if exit_ == 3 else exit_, rung == DEFQ, self.ready):
                self.changes.append((len(self.rungs), self.ladder.rung))
        return self

    @property
    def rung(self):
        return self.ladder.rung

    def share_on(self, rung, since=0):
        return np.mean(np.array(self.rungs[since:]) == rung)


def test_clean_frames_are_left_in_peace():
    assert Stream().run(CLEAN, 20000).share_on(PEACE) > 0.95


def test_an_attack_that_defq_stops_leads_to_defq_and_no_further():
    stream = Stream().run(CLEAN, 200).run(BLIND, 3000)
    assert stream.share_on(DEFQ, 250) > 0.95
    assert TWIN not in stream.rungs
    assert stream.run(CLEAN, 1000).rung == PEACE


@pytest.mark.parametrize("seed", range(5))
def test_an_attacker_who_knows_defq_meets_the_twin_within_a_hundred_frames(seed):
    stream = Stream(seed=seed).run(CLEAN, 200).run(KNOWING, 100)
    assert stream.rung == TWIN
    assert [rung for _, rung in stream.changes] == [DEFQ, TWIN]


def test_the_twin_is_met_more_and_more_by_one_who_stays():
    stream = Stream().run(KNOWING, 20000)
    assert stream.share_on(TWIN) > 0.9
    assert stream.share_on(PEACE) < 0.01
    assert len(stream.changes) < 40


def test_after_the_attack_it_comes_down_to_peace():
    stream = Stream().run(KNOWING, 500)
    assert stream.rung == TWIN
    assert stream.run(CLEAN, 2000).rung == PEACE
    assert stream.share_on(PEACE, 2000) > 0.9


@pytest.mark.parametrize("kind", [BLIND, KNOWING])
def test_an_attacker_who_stops_and_starts_does_not_make_it_swing(kind):
    stream = Stream()
    for _ in range(200):
        stream.run(kind, 50).run(CLEAN, 50)
    late = [at for at, _ in stream.changes if at > 10000]
    assert len(stream.changes) < 60
    assert len(late) < 25
    assert stream.share_on(PEACE, 1000) < 0.1


def test_without_a_twin_defq_is_the_last_rung():
    stream = Stream(twin=None).run(KNOWING, 2000)
    assert stream.rung == DEFQ
    assert TWIN not in stream.rungs


def test_a_twin_that_is_not_awake_is_not_climbed_to():
    stream = Stream(ready=False).run(KNOWING, 500)
    assert TWIN not in stream.rungs
    stream.ready = True
    assert stream.run(KNOWING, 200).rung == TWIN


def test_a_rung_is_held_for_longer_where_the_attack_comes_back_and_for_no_longer_after_peace():
    stream = Stream()
    for _ in range(30):
        stream.run(BLIND, 50).run(CLEAN, 150)
    swings = len(stream.changes)
    assert swings < 40
    stream.run(CLEAN, 20000)
    began = len(stream.rungs)
    stream.run(BLIND, 300).run(CLEAN, 400)
    assert stream.rung == PEACE
    assert stream.rungs[began:].count(DEFQ) < 600
