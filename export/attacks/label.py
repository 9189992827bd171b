"""An attack on the answers of a network instead of on its speed."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from export.attacks.base import MultiExit


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy to the label, summed over exits.

    Args:
        logits: float32 (exits, batch, classes).
        labels: int64 (batch,).

    Returns:
        float32 (batch,).
    """
    losses = [functional.cross_entropy(each, labels, reduction="none") for each in logits]
    return torch.stack(losses).sum(0)


@dataclass(frozen=True, kw_only=True)
class LabelLinf:
    """Projected gradient ascent on the loss of the label at all exits.

    "Towards Deep Learning Models Resistant to Adversarial Attacks", Madry et al., ICLR 2018. Distance measure: L-inf. Pixels in
    [0, 1]. It is no slow-down attack: it makes answers wrong, and frames may leave as early as before.

    Args:
        iterations: gradient steps.
        eps: largest change of a pixel (8/256).
        step: change of a pixel in one iteration.
        batch: images at a time.

    Example:
        >>> attacked = LabelLinf()(network, images, labels, seed=0)
    """

    iterations: int = 20
    eps: float = 0.03125
    step: float = 0.0078125
    batch: int = 50

    def __call__(
        self, network: MultiExit, images: Tensor, labels: Tensor, seed: int = 0, progress: bool = False
    ) -> Tensor:
        """Attack ``images``, float32 (n, c, h, w) in [0, 1], and return the same shape and range.

        Args:
            network: in evaluation mode.
            labels: the true classes, int64 (n,).
        """
        generator = torch.Generator().manual_seed(seed)
        parts = []
        with tqdm(total=len(images), desc=type(self).__name__, unit=" images", disable=not progress) as bar:
            for clean, wanted in zip(torch.split(images, self.batch), torch.split(labels, self.batch), strict=True):
                parts.append(self._perturb(network, clean, wanted, generator))
                bar.update(len(clean))
        return torch.cat(parts)

    def _perturb(self, network: MultiExit, clean: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.rand(clean.shape, generator=generator) * 2 - 1
        attacked = (clean + self.eps * noise).clamp(0, 1)
        for _ in range(self.iterations):
            at = attacked.detach().requires_grad_()
            logits = network.exits(at, len(network.blocks) + 1)
            slope = torch.autograd.grad(label_loss(logits, labels).sum(), at)[0]
            moved = attacked + self.step * slope.sign()
            attacked = torch.minimum(torch.maximum(moved, clean - self.eps), clean + self.eps).clamp(0, 1)
        return attacked
