"""DeepSloth with one perturbation for all images."""

from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from export.attacks.base import slowdown_gradient
from export.networks import SDN


class UniversalLinf(NamedTuple):
    """DeepSloth, universal L-inf: one perturbation learned over many images, to be added to any.

    Hong et al., ICLR 2021, section 3 (universal DeepSloth). Distance measure: L-inf. Pixels in [0, 1].
    Weak next to the per-image form: at eps 8/256 it costs SDN-VGG-16 accuracy but no early exits.

    Args:
        eps: largest change of a pixel (8/256).
        step: change of a pixel in one iteration.
        epochs: passes over the images.
        batch: images a gradient is averaged over.
    """

    eps: float = 0.03125
    step: float = 0.002
    epochs: int = 5
    batch: int = 100

    def __call__(self, network: SDN, images: Tensor, seed: int = 0, progress: bool = True) -> Tensor:
        """Learn from ``images``, float32 (n, c, h, w) in [0, 1]; return the perturbation, float32 (1, c, h, w)."""
        network.eval().requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        delta = self.step * (torch.rand(1, *images.shape[1:], generator=generator) * 2 - 1)
        for _ in tqdm(range(self.epochs), desc="DeepSloth universal", unit="epoch", disable=not progress):
            order = torch.randperm(len(images), generator=generator)
            for start in range(0, len(images), self.batch):
                attacked = (images[order[start : start + self.batch]] + delta).clamp(0, 1)
                gradient = slowdown_gradient(network, attacked).mean(0, keepdim=True)
                delta = (delta - self.step * gradient.sign()).clamp(-self.eps, self.eps)
        return delta
