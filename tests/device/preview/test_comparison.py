"""The rows of the comparison."""

import pytest

from device.preview.comparison import Comparison, Condition, defence_of
from tests.device.preview.fakes import decision

COSTS = [0.1, 0.2, 0.4, 0.7, 1.0]


def rows_of(comparison):
    return {row.condition: row for row in comparison.rows()}


def test_a_row_for_each_condition():
    comparison = Comparison(COSTS, 2)
    assert comparison.rows() == []
    for number in range(4):
        comparison.add(decision(exit_=1, truth=0), False, float(number), False)
        comparison.add(
            decision(exit_=5, source="host", sent=800, payload="fp32", total=6.0), True, float(number), False
        )
    rows = rows_of(comparison)
    assert list(rows) == [Condition(False, "none"), Condition(True, "none")]
    clean, attacked = rows.values()
    assert (clean.frames, clean.left_share, clean.t3_er, clean.latency_ms, clean.accuracy) == (4, 1.0, 1.0, 2.0, 1.0)
    assert (clean.bytes_a_frame, clean.payloads) == (0.0, [])
    assert clean.efcy == pytest.approx(0.95)
    assert (attacked.left_share, attacked.bytes_a_frame, attacked.payloads) == (0.0, 800.0, ["fp32"])
    assert (attacked.latency_ms, attacked.accuracy, attacked.energy_mj) == (6.0, None, None)


def test_defence_is_what_was_done_to_the_frame():
    assert defence_of(decision()) == "none"
    assert defence_of(decision(quantised=True)) == "defq"
    assert defence_of(decision(quantised=True, found=True)) == "gated"
    assert defence_of(decision(found=False)) == "gated"


def test_frames_without_an_answer_are_in_no_mean():
    comparison = Comparison(COSTS, 2)
    comparison.add(decision(exit_=1, truth=0), False, 1.0, False)
    comparison.add(decision(exit_=2, source="fallback", sent=500, total=2000.0, truth=0, label=3), False, 2.0, False)
    (row,) = comparison.rows()
    assert (row.frames, row.left_share) == (2, 0.5)
    assert (row.bytes_a_frame, row.latency_ms, row.accuracy) == (0.0, 2.0, 1.0)


def test_nothing_counts_while_the_host_is_down():
    comparison = Comparison(COSTS, 2)
    comparison.add(decision(exit_=1), False, 1.0, True)
    comparison.add_power(3.0)
    assert comparison.rows() == []


def test_frames_that_the_hardened_twin_answered_are_in_no_row():
    comparison = Comparison(COSTS, 2)
    comparison.add(decision(quantised=True)._replace(twin=True), True, 0.0, False)
    assert comparison.rows() == []


def test_forms_of_a_row_are_named_the_most_frequent_first():
    comparison = Comparison(COSTS, 2)
    for form in ("uint8", "coefficients", "coefficients"):
        comparison.add(decision(exit_=4, source="host", sent=10, payload=form), False, 1.0, False)
    assert comparison.rows()[0].payloads == ["coefficients", "uint8"]


def test_energy_is_power_times_the_time_from_frame_to_frame():
    comparison = Comparison(COSTS, 2)
    for number in range(5):
        comparison.add(decision(), False, 0.1 * number, False)
        comparison.add_power(2.0 if number % 2 else 3.0)
    comparison.add(decision(), False, 60.0, False)  # a pause is no frame's time
    comparison.add(decision(), True, 60.1, False)
    rows = rows_of(comparison)
    assert rows[Condition(False, "none")].energy_mj == pytest.approx(2600 * 0.1)
    assert rows[Condition(True, "none")].energy_mj is None
