"""Attackers who know the defence: the network that they attack has the defence before it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from export.networks.sdn import SDN

Defence = Callable[[Tensor, torch.Generator], Tensor]
"""Differentiable, or straight-through where it is not; float32 (n, c, h, w) in [0, 1] -> same. May draw random numbers."""


class Defended(nn.Module):
    """A network behind a defence, to be handed to any attack: it becomes adaptive.

    The defence's rounding passes the gradient on as if it were not there (backward pass differentiable approximation,
    Athalye et al., ICML 2018). For a randomised defence every gradient is the mean over ``draws`` of its random
    choices (expectation over transformation, same paper).

    Example:
        >>> attacked = DeepSlothLinf()(Defended(network, defence), images)
    """

    def __init__(self, network: SDN, defence: Defence, draws: int = 1) -> None:
        super().__init__()
        self.network = network
        self.blocks = network.blocks
        self.defence = defence
        self.draws = draws
        self.generator = torch.Generator().manual_seed(0)

    def exits(self, images: Tensor, count: int) -> Tensor:
        """Logits float32 (count, draws x batch, classes): the loss sums over the draws."""
        seen = torch.cat([self.defence(images, self.generator) for _ in range(self.draws)])
        return self.network.exits(seen, count)
