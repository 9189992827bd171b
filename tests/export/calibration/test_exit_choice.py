"""Which exits are kept: those that pay, and as few as lose nothing."""

import numpy as np
import pytest

from export.calibration.cost import ExitScores, StageCosts, rad_threshold, relative_costs, stage_costs
from export.calibration.exit_choice import at_exits, choose_exits
from tests import tiny

EXITS, IMAGES = 6, 400
LABELS = np.zeros(IMAGES, int)
COSTS = StageCosts((10,) * EXITS, (1,) * EXITS + (1,))


def scores_where(known):
    """Scores in which exit i is sure and right on the first known[i] images and unsure of the others. The final classifier is right on all."""
    confidences, classes = np.full((EXITS + 1, IMAGES), 0.3, np.float32), np.ones((EXITS + 1, IMAGES), int)
    for exit_, count in enumerate((*known, IMAGES)):
        confidences[exit_, :count], classes[exit_, :count] = 0.95, 0
    return ExitScores(confidences, classes)


def test_costs_of_some_exits_by_hand():
    costs = StageCosts((10, 20, 30), (1, 2, 3, 4))
    assert costs.relative() == pytest.approx([11 / 70, 33 / 70, 66 / 70, 1])
    assert costs.relative((2,)) == pytest.approx([32 / 66, 1])
    network = tiny.network()
    assert stage_costs(network).relative() == relative_costs(network)


def test_scores_of_some_exits():
    scores = scores_where([0, 100, 100, 200, 300, 400])
    some = at_exits(scores, (2, 4))
    assert some.confidences.shape == (3, IMAGES)
    assert np.array_equal(some.classes[1], scores.classes[3])
    assert np.array_equal(some.classes[-1], scores.classes[-1])


def test_exits_at_which_nobody_leaves_are_left_out():
    scores = scores_where([0, 300, 300, 300, 300, 380])
    choice = choose_exits(scores, LABELS, COSTS, tolerance=0, least=1)
    assert choice.exits == (2,)
    assert choice.costs == COSTS.relative((2,))
    assert choice.point == rad_threshold(at_exits(scores, (2,)), LABELS, choice.costs, 5)


def test_as_few_as_lose_no_more_than_the_tolerance():
    scores = scores_where([100, 150, 200, 250, 300, 390])
    counts = [len(choose_exits(scores, LABELS, COSTS, tolerance=each, least=1).exits) for each in (0, 0.02, 0.1, 1)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1


def test_an_exit_that_only_makes_others_look_cheaper_is_left_out():
    """A useless exit makes the whole network more expensive, which makes every relative cost lower without any gain."""
    dear = StageCosts(COSTS.blocks, (1, 1, 1, 1, 1, 60, 1))
    assert 6 not in choose_exits(scores_where([100, 150, 200, 250, 300, 300]), LABELS, dear, least=1).exits


def test_a_least_number_of_exits_is_kept():
    scores = scores_where([0] * EXITS)
    assert len(choose_exits(scores, LABELS, COSTS).exits) == 3
    assert len(choose_exits(scores, LABELS, COSTS, least=5).exits) == 5
    assert len(choose_exits(scores, LABELS, COSTS, least=9).exits) == EXITS
