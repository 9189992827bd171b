"""DeepSloth with a bounded change of every pixel, one perturbation an image."""

from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from export.attacks.base import slowdown_gradient
from export.networks import SDN


class DeepSlothLinf(NamedTuple):
    """DeepSloth, L-inf: projected gradient descent on the sign of the gradient.

    "A Panda? No, It's a Sloth: Slowdown Attacks on Adaptive Multi-Exit Neural Network Inference", Hong et al., ICLR 2021.
    Distance measure: L-inf. Pixels in [0, 1].

    Args:
        eps: largest change of a pixel (8/256).
        step: change of a pixel in one iteration.
        iterations: gradient steps.
        batch: images at a time.

    Example:
        >>> attacked = DeepSlothLinf()(network, images, seed=0)
    """

    eps: float = 0.03125
    step: float = 0.002
    iterations: int = 30
    batch: int = 100

    def __call__(self, network: SDN, images: Tensor, seed: int = 0, progress: bool = True) -> Tensor:
        """Attack ``images``, float32 (n, c, h, w) in [0, 1], and return the same shape and range."""
        network.eval().requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        starts = range(0, len(images), self.batch)
        parts = []
        with tqdm(total=len(images), desc="DeepSloth L-inf", unit="image", disable=not progress, mininterval=2) as bar:
            for start in starts:
                clean = images[start : start + self.batch]
                parts.append(self._attack(network, clean, generator))
                bar.update(len(clean))
        return torch.cat(parts)

    def _attack(self, network: SDN, clean: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.rand(clean.shape, generator=generator) * 2 - 1
        attacked = (clean + self.step * noise).clamp(0, 1)
        for _ in range(self.iterations):
            moved = attacked - self.step * slowdown_gradient(network, attacked).sign()
            attacked = torch.minimum(torch.maximum(moved, clean - self.eps), clean + self.eps).clamp(0, 1)
        return attacked
