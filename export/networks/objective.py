"""What the training of an SDN minimises: the losses of all exits, weighted."""

import torch
from torch import Tensor
from torch.nn import functional

from export.networks.spec import Recipe

FIRST_WEIGHT = 0.01
SOFTNESS = 2.0
"""Temperature at which internal classifiers are compared with the final one (Hinton et al. 2015)."""


class Objective:
    """The loss of a batch.

    Args:
        costs: relative cost of every exit, float32 (exits,).
        recipe: how the exits are weighted, and whether internal classifiers learn from the final one.
        trained: whether the exits are trained already, so that their losses count in full from the first step.
    """

    def __init__(self, costs: Tensor, recipe: Recipe, trained: bool) -> None:
        self.recipe = recipe
        self.last = torch.full_like(costs, recipe.exit_weight) if recipe.exit_weight else costs
        rises = not (trained or recipe.exit_weight)
        self.first = torch.full_like(costs, FIRST_WEIGHT) if rises else self.last

    def loss(self, logits: Tensor, labels: Tensor, done: float) -> Tensor:
        """The weighted sum of the losses of all exits.

        Args:
            logits: float32 (exits, n, classes).
            labels: int64 (n,).
            done: share of the training that is done, 0 to 1.
        """
        weights = torch.lerp(self.first, self.last, done)
        weights[-1] = 1.0
        losses = torch.stack([functional.cross_entropy(each, labels) for each in logits])
        loss = (weights * losses).sum()
        if self.recipe.distilled:
            loss = loss + self.recipe.distilled * (weights[:-1] * self._distances(logits)).sum()
        return loss

    def _distances(self, logits: Tensor) -> Tensor:
        """Kullback-Leibler divergence of every internal classifier from the final one, float32 (exits - 1,)."""
        teacher = (logits[-1].detach() / SOFTNESS).softmax(-1)
        pupils = (logits[:-1] / SOFTNESS).log_softmax(-1)
        return functional.kl_div(pupils, teacher.expand_as(pupils), reduction="none").sum(-1).mean(-1) * SOFTNESS**2
