"""The calibration of exits: those that stay answer as before, and a second calibration changes nothing."""

import numpy as np
import pytest
import torch

from export.calibration.calibrated_exits import with_calibrated_exits
from export.calibration.cost import score
from export.calibration.temperature import LEAST, MOST, exit_logits
from export.data.images import Images
from tests import tiny


@pytest.fixture
def images():
    """Images whose labels the third exit gets right, except for every fourth one, so that its temperature lies within the bounds."""
    found = Images(tiny.frames(), np.zeros(60, np.int64))
    labels = exit_logits(tiny.network(), found)[2].argmax(-1).numpy()
    labels[::4] = (labels[::4] + 1) % 3
    return found._replace(labels=labels)


def test_a_second_calibration_finds_nothing_to_do(images):
    network = tiny.network()
    kept, first = with_calibrated_exits(network, images, choose=False)
    assert kept is network
    second = with_calibrated_exits(network, images, choose=False)[1]
    assert len(first) == len(second) == 5
    within = [LEAST * 1.01 < each < MOST * 0.99 for each in first]
    assert within[2]
    again = [each for each, inside in zip(second, within, strict=True) if inside]
    assert again == pytest.approx([1.0] * sum(within), rel=1e-3)


def test_the_exits_that_stay_answer_as_before_and_are_calibrated(images, capsys):
    before = score(tiny.network(), images.pixels)
    network, temperatures = with_calibrated_exits(tiny.network(), images)
    assert network.exit_numbers in {(1, 2, 3), (1, 2, 4), (1, 3, 4), (2, 3, 4), (1, 2, 3, 4)}
    assert len(temperatures) == len(network.ics) + 1
    after = score(network, images.pixels)
    rows = [*(number - 1 for number in network.exit_numbers), -1]
    assert np.array_equal(after.classes, before.classes[rows])
    kept = rows.index(2) if 2 in rows else -1
    if kept >= 0:
        right = (after.classes[kept] == images.labels).mean()
        assert abs(after.confidences[kept].mean() - right) < abs(before.confidences[2].mean() - right) + 0.02
    told = capsys.readouterr().out
    assert f"keeps {len(network.ics)} of 4 exits" in told
    assert "temperatures of the exits:" in told
    assert torch.isfinite(exit_logits(network, images)).all()
