"""DeepSloth with a bounded sum of all changes: few pixels change a lot."""

from dataclasses import dataclass

import torch
from torch import Tensor

from export.attacks.base import Gradient, PerSampleAttack, unit_noise


@dataclass(frozen=True, kw_only=True)
class DeepSlothL1(PerSampleAttack):
    """DeepSloth, L1: every step moves the few entries with the largest gradients.

    Hong et al., ICLR 2021. Distance measure: L1 over all pixels of an image in [0, 1].

    Args:
        eps: largest sum of absolute changes of an image.
        step: sum of absolute changes of one iteration.
        moved: share of the entries that one iteration moves.
    """

    iterations: int = 250
    eps: float = 8.0
    step: float = 0.5
    moved: float = 0.01

    def perturb(self, gradient: Gradient, clean: Tensor, generator: torch.Generator) -> Tensor:
        attacked = (clean + self.eps * unit_noise(clean, 1, generator)).clamp(0, 1)
        count = max(1, round(self.moved * clean[0].numel()))
        for _ in range(self.iterations):
            slope = gradient(attacked).flatten(1)
            largest = slope.abs().topk(count, dim=1).indices
            change = torch.zeros_like(slope).scatter_(1, largest, slope.gather(1, largest).sign() / count)
            moved = (attacked - self.step * change.view_as(clean)).clamp(0, 1)
            attacked = (clean + (moved - clean).renorm(1, 0, self.eps)).clamp(0, 1)
        return attacked
