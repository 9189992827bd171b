"""DeepSloth with a bounded change of every pixel."""

from dataclasses import dataclass

import torch
from torch import Tensor

from export.attacks.base import Gradient, PerSampleAttack


@dataclass(frozen=True, kw_only=True)
class DeepSlothLinf(PerSampleAttack):
    """DeepSloth, L-inf: projected gradient descent on the sign of the gradient.

    "A Panda? No, It's a Sloth: Slowdown Attacks on Adaptive Multi-Exit Neural Network Inference", Hong et al., ICLR 2021.
    Distance measure: L-inf. Pixels in [0, 1].

    Args:
        eps: largest change of a pixel (8/256).
        step: change of a pixel in one iteration.

    Example:
        >>> attacked = DeepSlothLinf()(network, images, seed=0)
    """

    iterations: int = 30
    eps: float = 0.03125
    step: float = 0.002

    def perturb(self, gradient: Gradient, clean: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.rand(clean.shape, generator=generator) * 2 - 1
        attacked = (clean + self.step * noise).clamp(0, 1)
        for _ in range(self.iterations):
            moved = attacked - self.step * gradient(attacked).sign()
            attacked = torch.minimum(torch.maximum(moved, clean - self.eps), clean + self.eps).clamp(0, 1)
        return attacked


@dataclass(frozen=True, kw_only=True)
class GreyLinf(DeepSlothLinf):
    """DeepSloth, L-inf, that changes all channels of a pixel alike: invisible to the noise gate (device/defence/gate.py), which
    looks at differences between channels."""

    def perturb(self, gradient: Gradient, clean: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.rand(clean[:, :1].shape, generator=generator) * 2 - 1
        delta = self.step * noise
        for _ in range(self.iterations):
            slope = gradient((clean + delta).clamp(0, 1)).mean(1, keepdim=True)
            delta = (delta - self.step * slope.sign()).clamp(-self.eps, self.eps)
        return (clean + delta).clamp(0, 1)
