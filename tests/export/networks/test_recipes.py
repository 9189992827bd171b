"""The training recipe that suits a data set."""

import numpy as np
import pytest

from export.data.images import Dataset, Images
from export.networks.recipes import EPOCHS, photograph_recipe, recipe_for
from tests import tiny


def test_few_photographs_are_seen_more_often():
    recipes = [photograph_recipe(count, trained=True) for count in (30, 100, 600, 1200, 5000, 100_000)]
    epochs = [each.epochs for each in recipes]
    assert epochs == sorted(epochs, reverse=True)
    assert (epochs[0], epochs[-1]) == (EPOCHS[1], EPOCHS[0])
    assert [each.batch for each in recipes] == [16, 16, 32, 32, 64, 64]
    assert all(each.photographs for each in recipes)
    assert photograph_recipe(600, trained=False).peak_rate > photograph_recipe(600, trained=True).peak_rate


@pytest.mark.parametrize("name", ["CIFAR-10", "images of a folder"])
def test_cifar10_keeps_the_recipe_of_the_network(name):
    images = Images(np.zeros((700, 2, 2, 3), np.uint8), np.zeros(700, int))
    data = Dataset(images, images, images, ("a", "b"), "test", name=name)
    recipe = recipe_for(tiny.SPEC, data, trained=True)
    assert recipe == (tiny.SPEC.recipe if name == "CIFAR-10" else photograph_recipe(700, trained=True))
