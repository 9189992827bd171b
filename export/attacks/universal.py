"""DeepSloth with one perturbation for all images, or one for all images of a class."""

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from export.attacks.base import MultiExit, slowdown_gradient


@dataclass(frozen=True, kw_only=True)
class UniversalLinf:
    """DeepSloth, universal L-inf: one perturbation learned over many images, to be added to any.

    Hong et al., ICLR 2021, section 3 (universal DeepSloth). Distance measure: L-inf. Pixels in [0, 1].

    Args:
        eps: largest change of a pixel (8/256).
        step: change of a pixel in one iteration.
        epochs: passes over the images.
        batch: images a gradient is averaged over.
    """

    eps: float = 0.03125
    step: float = 0.005
    epochs: int = 5
    batch: int = 50

    def __call__(self, network: MultiExit, images: Tensor, seed: int = 0, progress: bool = True) -> Tensor:
        """Learn from ``images``, float32 (n, c, h, w) in [0, 1]; return the perturbation, float32 (1, c, h, w)."""
        generator = torch.Generator().manual_seed(seed)
        delta = self.eps * (torch.rand(1, *images.shape[1:], generator=generator) * 2 - 1)
        for _ in tqdm(range(self.epochs), desc="UniversalLinf", unit="epoch", disable=None if progress else True):
            order = torch.randperm(len(images), generator=generator)
            for chosen in torch.split(order, self.batch):
                attacked = (images[chosen] + delta).clamp(0, 1)
                gradient = slowdown_gradient(network, attacked).mean(0, keepdim=True)
                delta = (delta - self.step * gradient.sign()).clamp(-self.eps, self.eps)
        return delta


@dataclass(frozen=True, kw_only=True)
class ClassUniversalLinf(UniversalLinf):
    """DeepSloth, class-universal L-inf: one perturbation for each class, learned on images of that class alone."""

    epochs: int = 15

    def per_class(
        self, network: MultiExit, images: Tensor, labels: Tensor, classes: int, seed: int = 0, progress: bool = True
    ) -> Tensor:
        """The perturbation of every class, float32 (classes, c, h, w); zero for a class without images."""
        deltas = torch.zeros(classes, *images.shape[1:])
        for number in sorted(set(labels.tolist())):
            deltas[number] = self(network, images[labels == number], seed, progress)[0]
        return deltas
