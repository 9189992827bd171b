"""The attack monitor: how soon it notices an attack and its end, and how rarely it is wrong."""

import threading

import numpy as np
import pytest

from device.defence.cusum import cusum_limit, mean_run_length
from device.defence.monitor import ExitShares, Monitor, check_shares, limits_of

SHARES = ExitShares(
    *(
        np.array(each)
        for each in (
            [0.2, 0.25, 0.14, 0.2, 0.21],
            [0.003, 0.005, 0.012, 0.3, 0.68],
            [0.15, 0.22, 0.13, 0.2, 0.3],
            [0.05, 0.1, 0.1, 0.25, 0.5],
        )
    )
)
CLEAN, ATTACKED = ([0.2, 0.25, 0.14, 0.41], [0.003, 0.005, 0.012, 0.98])


def exits(shares, count, seed=0):
    """0 for frames that stay, else the exit."""
    return [(1, 2, 3, 0)[each] for each in np.random.RandomState(seed).choice(4, count, p=shares)]


def frames_until_change(monitor, stream, quantised=False):
    return next((number for number, exit_ in enumerate(stream, 1) if monitor.see(exit_, quantised)), None)


def test_an_attack_is_found_within_a_few_frames_and_its_end_too():
    monitor = Monitor(SHARES, 3)
    assert frames_until_change(monitor, exits(CLEAN, 500)) is None
    assert frames_until_change(monitor, exits(ATTACKED, 100)) <= 30
    assert monitor.attacked
    assert monitor.alarms == 1
    assert frames_until_change(monitor, exits(SHARES.attacked_defq[:3].tolist() + [0.75], 2000), True) is None
    assert frames_until_change(monitor, exits([0.15, 0.22, 0.13, 0.5], 2000, 1), True) <= 1500
    assert not monitor.attacked
    assert monitor.alarms == 1


def test_half_and_a_fifth_of_attacked_frames_are_found_too():
    for share, at_most in ((0.5, 120), (0.2, 1500)):
        mixed = (1 - share) * np.array(CLEAN) + share * np.array(ATTACKED)
        found = [frames_until_change(Monitor(SHARES, 3), exits(mixed, 4000, seed)) for seed in range(3)]
        assert max(found) <= at_most


def test_the_mean_run_length_is_that_of_simulated_runs():
    ratios, shares = np.log(np.array([0.6, 1.6])), np.array([0.6, 0.4])
    generator, runs = np.random.RandomState(1), []
    for _ in range(400):
        total, count = 0.0, 0
        while total < 2.0:
            total = max(0.0, total + ratios[int(generator.rand() >= 0.6)])
            count += 1
        runs.append(count)
    assert mean_run_length(ratios, shares, 2.0) == pytest.approx(np.mean(runs), rel=0.15)


def test_the_limit_gives_the_wanted_run_length():
    ratios, shares = np.log(np.array([0.7, 1.5])), np.array([0.6, 0.4])
    limit = cusum_limit(ratios, shares, 5000)
    assert mean_run_length(ratios, shares, limit * 0.97) < 5000 < mean_run_length(ratios, shares, limit * 1.03) * 1.1
    assert cusum_limit(np.zeros(2), shares, 5000) == float("inf")  # nothing tells the two apart


def test_learned_shares_replace_those_of_the_bundle():
    scene = [0.02, 0.03, 0.05, 0.9]  # hardly a frame leaves here, attack or not
    assert frames_until_change(Monitor(SHARES, 3), exits(scene, 300)) is not None
    monitor = Monitor(SHARES, 3, learn=400)
    assert monitor.learning
    assert frames_until_change(monitor, exits(scene, 400, 1)) is None
    monitor.settle()
    assert not monitor.learning
    assert frames_until_change(monitor, exits(scene, 1000, 2)) is None


def test_no_frame_waits_for_what_follows_from_the_learned_shares(monkeypatch):
    """The loop goes on while limits are computed, and frames that come meanwhile are judged afterwards."""
    monitor = Monitor(SHARES, 3, learn=200)
    go, compute = threading.Event(), limits_of
    monkeypatch.setattr("device.defence.monitor.limits_of", lambda *arguments: go.wait(10) and compute(*arguments))
    assert frames_until_change(monitor, exits(CLEAN, 200)) is None
    assert (
        frames_until_change(monitor, exits(ATTACKED, 100)) is None
    )  # and comes here, although nothing is computed yet
    assert monitor.learning
    assert not monitor.attacked
    go.set()
    monitor.settle()
    assert not monitor.learning
    assert monitor.attacked
    assert monitor.alarms == 1
    apart = Monitor(SHARES, 3, learn=200)
    assert frames_until_change(apart, exits(CLEAN, 200)) is None
    apart.settle()
    assert [apart.see(each, False) for each in exits(ATTACKED, 100)].count(True) == 1
    later = [each for number in range(20) for each in (*exits(CLEAN, 50, number), *exits(ATTACKED, 50, number))]
    changes = [apart.see(each, False) for each in later]
    assert changes.count(True) > 4
    assert changes == [monitor.see(each, False) for each in later]  # as if it had waited


def test_shares_of_a_file_are_checked():
    good = {name: [0.5, 0.25, 0.25] for name in ExitShares._fields}
    np.testing.assert_array_equal(check_shares(good, 3).clean, [0.5, 0.25, 0.25])
    for bad in ([0.5, 0.5], [0.5, 0.5, float("nan")], [0.0, 0.0, 0.0], [-0.5, 1.0, 0.5], "abc"):
        with pytest.raises((ValueError, TypeError)):
            check_shares(dict(good, attacked=bad), 3)
    with pytest.raises(KeyError):
        check_shares({"clean": good["clean"]}, 3)
