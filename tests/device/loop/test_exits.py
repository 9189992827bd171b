"""The exit rule, T3-ER and EFCY, on numbers that are small enough to be added by hand."""

import numpy as np
import pytest

from device.loop.exits import efcy, exit_histogram, first_confident, t3_er


def test_first_confident_exit_else_the_last():
    confidences = np.array([[0.9, 0.5, 0.2, 0.8], [0.95, 0.8, 0.3, 0.9], [0.1, 0.99, 0.4, 0.99]])
    assert first_confident(confidences, 0.8).tolist() == [0, 1, 2, 0]


def test_t3_er_counts_exits_one_to_three():
    assert t3_er([0, 1, 2, 3, 9]) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("exits", "costs", "area"),
    [
        ([0, 0], [0.5, 1.0], 0.5 * 0.5 + 0.5),  # all leave half-way: a ramp to 1, then 1
        ([1, 1], [0.5, 1.0], 0.25),  # none leaves early: 0 until 0.5, then a ramp
        ([0, 1], [0.5, 1.0], 0.5 * 0.25 + 0.5 * 0.75),
        ([1, 1], [0.25, 0.5], 0.125 + 0.5),  # all leave before the whole network is done: 1 from there on
        ([0, 1, 2, 2], [0.2, 0.6, 1.0], 0.2 * 0.125 + 0.4 * 0.375 + 0.4 * 0.75),
    ],
)
def test_efcy_by_hand(exits, costs, area):
    assert efcy(exits, costs) == pytest.approx(area)


def test_histogram_has_a_place_for_every_exit():
    assert exit_histogram([0, 2, 2], 5).tolist() == [1, 0, 2, 0, 0]
