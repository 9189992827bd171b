"""What all forms of DeepSloth share: the objective, its gradient and the loop over batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

Gradient = Callable[[Tensor], Tensor]
"""float32 (n, c, h, w) in [0, 1] -> the gradient of the objective at these images, same shape."""


class MultiExit(Protocol):
    """What an attack asks of its target: an SDN, or one with a defence before it (export.attacks.adaptive)."""

    blocks: nn.ModuleList

    def exits(self, images: Tensor, count: int) -> Tensor: ...


def uniformity_loss(logits: Tensor) -> Tensor:
    """Cross-entropy to the uniform distribution, summed over exits (Hong et al. 2021, section 3).

    logits: float32 (exits, batch, classes). Returns float32 (batch,), lowest where every exit is as unsure as can be.
    """
    return -logits.log_softmax(-1).mean(-1).sum(0)


def slowdown_gradient(network: MultiExit, images: Tensor) -> Tensor:
    """Gradient of the loss with respect to every image, float32 (n, c, h, w).

    Args:
        network: in evaluation mode.
        images: float32 (n, c, h, w) in [0, 1].
    """
    images = images.detach().requires_grad_()
    logits = network.exits(images, len(network.blocks))  # not the final classifier
    return torch.autograd.grad(uniformity_loss(logits).sum(), images)[0]


@dataclass(frozen=True, kw_only=True)
class PerSampleAttack:
    """One perturbation an image; a subclass says how a batch moves along the gradient.

    Args:
        iterations: gradient steps.
        batch: images at a time. Images do not influence one another; the noise they start from depends on it.
    """

    iterations: int
    batch: int = 50

    def __call__(self, network: MultiExit, images: Tensor, seed: int = 0, progress: bool = True) -> Tensor:
        """Attack ``images``, float32 (n, c, h, w) in [0, 1], and return the same shape and range."""
        generator = torch.Generator().manual_seed(seed)
        total = len(images) * self.iterations
        name = type(self).__name__
        with tqdm(total=total, desc=name, unit=" gradients", disable=not progress, mininterval=2) as bar:

            def gradient(at: Tensor) -> Tensor:
                bar.update(len(at))
                return slowdown_gradient(network, at)

            return torch.cat([self.perturb(gradient, clean, generator) for clean in torch.split(images, self.batch)])

    def perturb(self, gradient: Gradient, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Attack one batch."""
        raise NotImplementedError


def unit_noise(like: Tensor, norm: int, generator: torch.Generator) -> Tensor:
    """Random directions with an L1 or L2 norm of 1 an image: Laplace noise for L1, Gaussian noise for L2."""
    if norm == 1:
        uniform = torch.rand(like.shape, generator=generator) - 0.5
        noise = -uniform.sign() * torch.log1p(-2 * uniform.abs())
    else:
        noise = torch.randn(like.shape, generator=generator)
    norms: Tensor = noise.flatten(1).norm(norm, dim=1)
    return noise / norms[:, None, None, None]
