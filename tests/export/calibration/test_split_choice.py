"""The choice of the split by what the head costs and what sending costs."""

import pytest

from export.calibration.card import ModelCard
from export.calibration.last_exit import LastExit
from export.calibration.split_choice import choose_split, usual_split
from export.data.cifar10 import CLASSES as CIFAR10_CLASSES

COSTS = [0.1, 0.2, 0.3, 0.4, 1.0]


def brute_force(shares, costs, sending):
    """Mean cost for each split, frame by frame."""
    means = []
    for split in range(1, len(costs)):
        mean = sum(
            share * (costs[each] if each < split else costs[split - 1] + sending) for each, share in enumerate(shares)
        )
        means.append(mean)
    return next(index for index, mean in enumerate(means, 1) if mean <= min(means) + 1e-9)


@pytest.mark.parametrize("sending", [0.1, 0.3, 1.0, 5.0])
@pytest.mark.parametrize(
    "shares", [[0.2] * 5, [0.5, 0.3, 0.1, 0.05, 0.05], [0, 0, 0.1, 0.8, 0.1], [0.9, 0, 0, 0.05, 0.05]]
)
def test_it_is_the_cheapest_split(shares, sending):
    assert choose_split(shares, COSTS, sending) == brute_force(shares, COSTS, sending)


def test_dearer_sending_keeps_more_on_the_device():
    shares = [0.3, 0.2, 0.1, 0.1, 0.3]
    assert choose_split(shares, COSTS, sending=0.0) == 1
    assert choose_split(shares, COSTS, sending=10) == 4


def test_the_head_stays_below_its_largest_size():
    shares = [0.1, 0.1, 0.1, 0.6, 0.1]
    assert choose_split(shares, COSTS, sending=10) == 4
    assert choose_split(shares, COSTS, sending=10, largest_head=0.3) == 3
    assert choose_split(shares, [0.6, 0.7, 0.8, 0.9, 1.0], sending=10) == 1


@pytest.mark.parametrize(
    ("classes", "shares", "split", "reason"),
    [
        (CIFAR10_CLASSES, {5: (0.9, 0.0, 0.0, 0.0, 0.1)}, 3, "of CIFAR-10"),
        (
            ("a", "b"),
            {5: (0.9, 0.0, 0.0, 0.0, 0.1)},
            1,
            "90% of the calibration images leave up to there, for at most 10%",
        ),
        (
            ("a", "b"),
            {5: (0.1, 0.1, 0.1, 0.6, 0.1)},
            4,
            "90% of the calibration images leave up to there, for at most 40%",
        ),
        (("a", "b"), {}, 3, "does not say where images leave"),
    ],
)
def test_the_usual_split_follows_where_images_leave(classes, shares, split, reason):
    choice = usual_split(ModelCard(classes, tuple(COSTS), {}, shares=shares), 5)
    assert choice.split == split
    assert reason in choice.told()
    assert "--split" in choice.told()


def test_a_network_with_two_exits_has_one_of_them_on_the_device():
    assert usual_split(ModelCard(("a", "b"), (0.5, 1.0), {}), 5).split == 1


def test_the_usual_split_lies_before_the_last_exit():
    shares = {5: (0.1, 0.1, 0.1, 0.6, 0.1)}
    card = ModelCard(("a", "b"), tuple(COSTS), {}, shares=shares, last_exits={5: LastExit(3, 0.3, 0.7, {})})
    assert usual_split(card, 5).split == 4
    assert usual_split(card, 5, last_exit=True).split == 2
