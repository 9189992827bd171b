"""The recipe that suits the data: CIFAR-10 has the network's own one, photographs have one that is scaled to their number."""

from export.data.cifar10 import NAME as CIFAR10
from export.data.images import Dataset
from export.networks.spec import NetworkSpec, Recipe

VIEWS = 16_000
"""Photographs that a network sees during its training, each photograph many times, in other crops and other light."""
EPOCHS = (10, 60)
FEW, MANY = 400, 4000
"""Numbers of photographs below which a batch has 16, and from which it has 64 images, instead of 32."""
PEAK_RATE, TRAINED_PEAK_RATE = 0.1, 0.03
"""Highest learning rate from random weights, and from weights that were trained on other data, for batches of 32."""


def recipe_for(spec: NetworkSpec, data: Dataset, trained: bool) -> Recipe:
    """How a network is trained on ``data``, where the command line says nothing else.

    Args:
        trained: whether the training begins from weights that were trained on other data, such as ImageNet.
    """
    if data.name == CIFAR10:
        return spec.recipe
    return photograph_recipe(len(data.train.labels), trained)


def photograph_recipe(count: int, trained: bool) -> Recipe:
    """The recipe for ``count`` photographs: the fewer they are, the more often each is seen.

    Args:
        trained: whether the training begins from weights that were trained on other data.
    """
    batch = 16 if count < FEW else 32 if count < MANY else 64
    rate = TRAINED_PEAK_RATE if trained else PEAK_RATE
    least, most = EPOCHS
    return Recipe(
        epochs=min(max(round(VIEWS / count), least), most),
        peak_rate=rate * (batch / 32) ** 0.5,
        batch=batch,
        quantised=0.25,
        photographs=True,
        exit_weight=0.3,
        patience=8,
    )
