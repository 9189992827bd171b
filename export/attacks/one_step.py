"""Attacks of one step: cheap enough to attack every batch of a training."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from export.attacks.base import uniformity_loss
from export.attacks.label import label_loss


@dataclass(frozen=True, kw_only=True)
class OneStepLinf:
    """From a random place in the ball around an image, one step along the sign of the gradient.

    "Fast is better than free: Revisiting adversarial training", Wong et al., ICLR 2020. Distance measure: L-inf. Pixels in
    [0, 1].

    Args:
        eps: largest change of a pixel (8/256).
        reach: length of the step, as a multiple of ``eps``.
    """

    eps: float = 0.03125
    reach: float = 1.25

    def __call__(
        self,
        forward: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        slowed: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Attack a batch: the first ``slowed`` images by the slow-down loss at all exits before the last one, the others by the
        loss of their label at all exits.

        Args:
            forward: gives the logits of all exits, float32 (exits, batch, classes).
            images: float32 (n, c, h, w) in [0, 1].
            labels: int64 (n,).
        """
        noise = self.eps * (2 * torch.rand(images.shape, generator=generator) - 1)
        at = (images + noise).clamp(0, 1).contiguous(memory_format=torch.channels_last).requires_grad_()
        logits = forward(at)
        loss = -uniformity_loss(logits[:-1, :slowed]).sum()
        if slowed < len(images):
            loss = loss + label_loss(logits[:, slowed:], labels[slowed:]).sum()
        slope = torch.autograd.grad(loss, at)[0]
        change = (noise + self.reach * self.eps * slope.sign()).clamp(-self.eps, self.eps)
        return (images + change).clamp(0, 1).detach()
