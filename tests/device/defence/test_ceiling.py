"""The ceiling: what it admits, its level, its start, and the bound over a long run."""

import pytest

from device.defence.budget import MILLION, ByteBudget, FrameBudget
from device.defence.ceiling import Ceiling, CeilingSettings, check_ceiling


def ceiling_of(share=0.45, gain=0.03, threshold=0.77, classes=10):
    return Ceiling(threshold, classes, CeilingSettings({"off": share}, gain))


def play(ceiling, frames, confidence=0.1, threshold=0.77):
    """So many frames that stay; the number of those that are sent."""
    total = 0
    for _ in range(frames):
        sent = ceiling.admits(confidence, threshold)
        ceiling.count(sent, "off")
        total += sent
    return total


def rested(ceiling):
    """A ceiling after many frames that left."""
    for _ in range(1000):
        ceiling.count(False, "off")
    return ceiling


def test_a_rested_ceiling_sends_every_frame_below_the_threshold():
    ceiling = rested(ceiling_of())
    assert ceiling.level == pytest.approx(0.77)
    assert ceiling.admits(0.7699, 0.77)
    assert not ceiling.admits(0.78, 0.77)


@pytest.mark.parametrize(("gain", "excess"), [(0.01, 68.0), (0.03, 23.3), (0.1, 7.7)])
def test_the_bound_is_that_of_the_definition(gain, excess):
    ceiling = rested(ceiling_of(gain=gain))
    sent = play(ceiling, 1000)
    assert 450 <= sent <= ceiling.bound(1000) <= 0.45 * 1000 + excess + 1e-6
    assert ceiling.bound(1000) == int(450 + excess)
    assert sent >= ceiling.bound(1000) - 1  # an attacker whose frames are as unsure as can be gets there


def test_every_frame_that_is_sent_lowers_the_level_by_the_gain_and_every_other_raises_it():
    ceiling = rested(ceiling_of())
    ceiling.count(True, "off")
    assert ceiling.level == pytest.approx(0.77 - 0.03 * 0.55)
    ceiling.count(True, "off")
    ceiling.count(False, "off")
    assert ceiling.level == pytest.approx(0.77 - 0.03 * (0.55 + 0.55 - 0.45))


def test_the_most_unsure_frames_are_sent_first():
    ceiling = rested(ceiling_of())
    for _ in range(20):
        ceiling.count(True, "off")
    assert not ceiling.admits(0.7, 0.77)
    assert ceiling.admits(0.3, 0.77)


def test_a_frame_with_a_threshold_of_its_own_is_judged_by_its_share_of_it():
    ceiling = rested(ceiling_of(threshold=0.8))
    while ceiling.level > 0.6:  # three quarters of the threshold
        ceiling.count(True, "off")
    assert ceiling.admits(0.29, 0.4)
    assert not ceiling.admits(0.31, 0.4)


def test_a_new_start_gives_no_burst():
    ceiling = ceiling_of()
    assert ceiling.level == pytest.approx(0.1)
    assert not ceiling.admits(0.1, 0.77)
    assert sum(play(ceiling_of(), 2) for _ in range(100)) == 0
    assert play(ceiling_of(), 100) <= 45


@pytest.mark.parametrize("confidence", [0.0, -1.0, float("nan")])
def test_confidences_that_no_sound_head_gives_do_not_break_the_bound(confidence):
    ceiling = rested(ceiling_of(gain=0.1))
    assert play(ceiling, 1000, confidence) <= ceiling.bound(1000)


@pytest.mark.parametrize(("share", "sent"), [(0.0, 0), (1.0, 1000)])
def test_the_ends_of_the_scale(share, sent):
    assert play(ceiling_of(share), 1003) in range(sent, sent + 4)


def test_a_million_frames_of_an_attacker_stay_below_the_bound():
    budget = FrameBudget((0.77 - 0.1) / 0.03)
    sent, refilled = 0, 0
    for _ in range(1000000):
        may = budget.left > 0
        budget.count(may, 0.45)
        sent += may
        refilled += 450000
    assert refilled // MILLION - 1 <= sent <= (refilled + budget.capacity) // MILLION + 1


def test_a_mode_without_a_share_has_no_ceiling():
    ceiling = Ceiling(0.77, 10, CeilingSettings({"off": 0.2}))
    for _ in range(100):
        ceiling.count(False, "on")
    for _ in range(100):
        assert ceiling.admits(0.76, 0.77)
        ceiling.count(True, "on")
    assert ceiling.bound(100) == 100


def test_bytes_are_paid_before_they_are_sent_and_come_back_with_time():
    now = [5.0]
    budget = ByteBudget(100, 1000, 300, lambda: now[0])
    assert not budget.pay(1)
    now[0] += 3.0  # what the largest request may have overdrawn before the start
    assert not budget.pay(1)
    now[0] += 1000.0
    assert budget.fraction == 1.0
    assert [budget.pay(300) for _ in range(5)] == [True, True, True, True, False]
    now[0] -= 500.0
    assert not budget.pay(1)
    now[0] += 500.0
    assert not budget.pay(1)
    now[0] += 2.01
    assert budget.pay(300)


def test_both_bounds_share_one_level():
    now = [0.0]
    budget = ByteBudget(100, 1000, 300, lambda: now[0])
    ceiling = rested(Ceiling(0.8, 10, CeilingSettings({"off": 0.5}), budget))
    assert not ceiling.admits(0.1, 0.8)
    now[0] = 3.0 + 5.0
    assert ceiling.level == pytest.approx(0.1 + 0.7 * 0.5)
    assert ceiling.admits(0.44, 0.8)
    assert not ceiling.admits(0.46, 0.8)
    assert ceiling.pay(300)
    assert ceiling.level == pytest.approx(0.1 + 0.7 * 0.2)


def test_a_ceiling_without_settings_lets_bytes_pass():
    assert ceiling_of().pay(1 << 40)


def test_the_ceiling_of_a_manifest():
    content = {"gain": 0.05, "modes": {"5": {"off": {"share": 0.5, "lost": 0.004}}, "10": {}}}
    assert check_ceiling(content, [5, 10]) == {5: CeilingSettings({"off": 0.5}, 0.05)}
    assert check_ceiling(None, [5]) == {}


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"gain": 0.03},
        {"gain": 0.0, "modes": {"5": {"off": {"share": 0.5}}}},
        {"gain": 0.03, "modes": {"5": {"off": {"share": 1.5}}}},
        {"gain": 0.03, "modes": {"5": {"off": {"share": float("nan")}}}},
        {"gain": 0.03, "modes": {"5": {"off": 0.5}}},
        {"gain": float("inf"), "modes": {"5": {"off": {"share": 0.5}}}},
    ],
)
def test_a_damaged_ceiling_is_refused(content):
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        check_ceiling(content, [5])
