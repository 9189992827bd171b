"""DeepSloth with a bounded Euclidean length of the whole change."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from export.attacks.base import Gradient, PerSampleAttack, unit_noise


@dataclass(frozen=True, kw_only=True)
class DeepSlothL2(PerSampleAttack):
    """DeepSloth, L2: gradient descent on a sphere that shrinks, with the authors' schedule.

    Hong et al., ICLR 2021. Distance measure: L2 over all pixels of an image in [0, 1]. The last of the eleven radii is
    0.9^10 = 0.35.

    Args:
        norm: radius at the start.
        shrink: share of the radius that is lost every ``period`` iterations.
        first_rate, last_rate: ends of the cosine schedule of the step length.
    """

    iterations: int = 550
    period: int = 50
    norm: float = 1.0
    shrink: float = 0.1
    first_rate: float = 1.0
    last_rate: float = 0.01

    def perturb(self, gradient: Gradient, clean: Tensor, generator: torch.Generator) -> Tensor:
        delta = unit_noise(clean, 2, generator) * self.norm
        for done in range(self.iterations):
            cosine = (1 + math.cos(math.pi * done / self.iterations)) / 2
            rate = self.last_rate + (self.first_rate - self.last_rate) * cosine
            radius = self.norm * (1 - self.shrink) ** (done // self.period)
            step = gradient((clean + delta).clamp(0, 1)).renorm(2, 0, 1.0)
            delta = (delta - rate * step).renorm(2, 0, radius)
        return (clean + delta).clamp(0, 1)
