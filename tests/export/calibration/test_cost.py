"""The cost of each exit and the threshold for a relative accuracy drop, against numbers computed by hand."""

import numpy as np
import pytest

from export.calibration.card import read_card
from export.calibration.cost import ExitScores, early_exit, rad_threshold, relative_costs
from export.networks.find import network_spec
from export.networks.model_files import shipped
from tests import tiny

# four images, two exits: the first exit is right when it is sure (0.9) and wrong when it is not (0.6)
SCORES = ExitScores(
    np.array([[0.9, 0.9, 0.6, 0.5], [0.99, 0.99, 0.99, 0.99]]),
    np.array([[0, 1, 0, 0], [0, 1, 2, 3]]),
)
LABELS = np.array([0, 1, 2, 3])
COSTS = [0.25, 1.0]


def test_a_frame_leaves_at_the_first_exit_that_is_confident():
    exits, classes = early_exit(SCORES, 0.7)
    assert exits.tolist() == [0, 0, 1, 1]
    assert classes.tolist() == [0, 1, 2, 3]


def test_rad_takes_the_cheapest_threshold_that_is_accurate_enough():
    point = rad_threshold(SCORES, LABELS, COSTS, 5)
    assert 0.6 < point.threshold <= 0.9
    assert (point.accuracy, point.mean_cost, point.t3_er) == (1.0, pytest.approx(0.625), 1.0)
    # a quarter of the accuracy may go: the third image may leave early as well
    point = rad_threshold(SCORES, LABELS, COSTS, 25)
    assert 0.5 < point.threshold <= 0.6
    assert point.accuracy == 0.75


def test_rad_falls_back_to_the_highest_threshold():
    wrong_everywhere = SCORES._replace(confidences=np.full((2, 4), 1.0))
    assert rad_threshold(wrong_everywhere, LABELS, COSTS, 5).threshold == 1.0


def test_costs_are_those_computed_by_hand():
    costs = relative_costs(tiny.network())
    stages = [
        256 * 4 * 27 + 64 * 3,  # 3 x 3 convolution 3 -> 4 on 16 x 16 pixels, linear 4 x 16 -> 3
        256 * 6 * 36 + 96 * 3,
        64 * 6 * 54 + 96 * 3,
        64 * 6 * 54 + 96 * 3,
        6 * 3,
    ]
    np.testing.assert_allclose(costs, np.cumsum(stages) / sum(stages))


@pytest.mark.parametrize(
    ("model", "exits", "first"), [("vgg16", 15, 0.0057), ("resnet56", 28, 0.041), ("mobilenet", 14, 0.0698)]
)
def test_the_papers_networks(model, exits, first):
    costs = relative_costs(network_spec(model).network(10))
    assert len(costs) == exits
    assert costs[0] == pytest.approx(first, abs=1e-4)
    card = read_card(shipped(model))
    np.testing.assert_allclose(card.relative_costs, costs, atol=1e-5)
    assert card.accuracy_test[-1] >= {"vgg16": 0.88, "resnet56": 0.85, "mobilenet": 0.85}[model]
