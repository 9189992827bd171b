"""What all forms of DeepSloth share: the objective and its gradient."""

import torch
from torch import Tensor

from export.networks import SDN


def uniformity_loss(logits: Tensor) -> Tensor:
    """Cross-entropy to the uniform distribution, summed over exits (Hong et al. 2021, section 3).

    logits: float32 (exits, batch, classes). Returns float32 (batch,), lowest where every exit is as unsure as can be.
    """
    return -logits.log_softmax(-1).mean(-1).sum(0)


def slowdown_gradient(network: SDN, images: Tensor) -> Tensor:
    """Gradient of the loss with respect to every image, float32 (n, c, h, w).

    Args:
        network: in evaluation mode.
        images: float32 (n, c, h, w) in [0, 1].
    """
    images = images.detach().requires_grad_()
    logits = network.exits(images, len(network.blocks))  # not the final classifier
    return torch.autograd.grad(uniformity_loss(logits).sum(), images)[0]
