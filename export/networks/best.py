"""The best weights of a training, which a training that stops early takes."""

import copy
from typing import Any

from torch import Tensor, nn


class BestWeights:
    """Keeps the weights of the epoch with the highest accuracy."""

    def __init__(self) -> None:
        self.accuracy, self.epoch, self.waited = -1.0, 0, 0
        self.weights: dict[str, Tensor] = {}

    def see(self, epoch: int, accuracy: float, network: nn.Module, counts: bool = True) -> None:
        """Take an epoch.

        Args:
            epoch: from 1.
            accuracy: what the weights are judged by, 0 or more.
            network: whose weights are copied if they are the best so far.
            counts: whether an epoch without an improvement is one that the training waited.
        """
        if accuracy > self.accuracy:
            self.accuracy, self.epoch, self.waited = accuracy, epoch, 0
            self.weights = copy.deepcopy(network.state_dict())
        else:
            self.waited += counts

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return vars(self)

    def load(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave."""
        vars(self).update(state)

    def restore(self, network: nn.Module) -> None:
        """Give a network the best weights; those that it has are kept where no epoch was seen."""
        if self.weights:
            network.load_state_dict(self.weights)
