"""A temperature for each exit, put into the weights of its last layer."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from export.calibration.cost import score
from export.calibration.temperature import LEAST, MOST, divide_logits, fitted_temperatures
from export.networks.weights import to_tensor
from tests import tiny


def drawn(temperature, images=4000, classes=5, seed=0):
    """Logits of an exit whose labels are drawn from them at a temperature: (1, images, classes), and the labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, classes, generator=generator)
    labels = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]
    return logits[None], labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_it_finds_the_temperature_that_labels_were_drawn_at(temperature):
    found = fitted_temperatures(*drawn(temperature))
    assert found.item() == pytest.approx(temperature, rel=0.1)


def test_every_exit_has_its_own_and_no_other_is_likelier():
    logits, labels = drawn(2.0)
    logits = torch.cat([logits, 4 * logits])
    found = fitted_temperatures(logits, labels)
    assert found[1] / found[0] == pytest.approx(4, rel=1e-3)
    best = functional.cross_entropy(logits[0] / found[0].float(), labels)
    for other in (0.8, 0.95, 1.05, 1.25):
        assert functional.cross_entropy(logits[0] / (found[0].float() * other), labels) >= best - 1e-4


def test_an_exit_that_is_always_right_on_few_images_is_not_made_certain():
    logits = functional.one_hot(torch.arange(30) % 3, 3).float()[None]
    found = fitted_temperatures(logits, torch.arange(30) % 3)
    assert LEAST < found.item() < 1
    confidence = (logits[0, 0] / found.float()).softmax(-1).max()
    assert confidence == pytest.approx(31 / 33, abs=1e-3)


def test_an_exit_that_is_worse_than_chance_gets_the_highest():
    logits = functional.one_hot(torch.arange(30) % 3, 3).float()[None]
    assert fitted_temperatures(-logits, torch.arange(30) % 3).item() == pytest.approx(MOST)


def test_the_weights_carry_the_temperatures_and_the_answers_stay():
    network, pixels = tiny.network(), tiny.frames()
    before = network(to_tensor(pixels)).detach()
    temperatures = torch.tensor([1.5, 2.0, 0.5, 3.0, 1.25], dtype=torch.float64)
    divide_logits(network, temperatures)
    after = network(to_tensor(pixels)).detach()
    torch.testing.assert_close(after, (before / temperatures[:, None, None]).float())
    assert np.array_equal(score(network, pixels).classes, before.argmax(-1).numpy())
