"""A temperature for each exit, so that its confidence is close to the chance that its answer is right.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017: the logits are divided by one number, the
temperature, which is learned on images that the network was not trained on. The classes that are answered stay the same. On
few photographs every exit is overconfident, each by another factor, so that one threshold cannot serve all exits. With
temperatures it can. The temperature becomes part of the weights of the last linear layer: graphs and devices need nothing new.
"""

import torch
from torch import Tensor, nn

from export.data.images import Images
from export.networks.sdn import SDN
from export.networks.weights import to_tensor

LEAST, MOST = 0.05, 20.0
"""Bounds of a temperature."""
HALVINGS = 40


@torch.no_grad()
def exit_logits(network: SDN, images: Images, batch: int = 250) -> Tensor:
    """Logits of every exit for images, float32 (exits, images, classes).

    Args:
        network: in evaluation mode.
    """
    parts = [images.pixels[start : start + batch] for start in range(0, len(images.labels), batch)]
    return torch.cat([network(to_tensor(each)) for each in parts], dim=1)


def fitted_temperatures(logits: Tensor, labels: Tensor) -> Tensor:
    """The temperature of every exit that makes the negative log likelihood of the labels lowest, float64 (exits,).

    The likelihood is concave in 1 / temperature, so that bisection on its slope finds the one optimum. The target of an image
    is not 1 for its class and 0 for the others, but (images + 1) / (images + classes) and 1 / (images + classes), as if every
    class had been seen once more (Platt 1999 does this for two classes). Otherwise an exit that is right on all of a few
    images would become certain of everything.

    Args:
        logits: float32 (exits, images, classes), of images that the network was not trained on.
        labels: int64 (images,).
    """
    logits = logits.double()
    _, images, classes = logits.shape
    targets = nn.functional.one_hot(labels, classes).double() * images / (images + classes) + 1 / (images + classes)
    wanted = (targets * logits).sum(-1).mean(-1)
    low = torch.full((len(logits),), 1 / MOST, dtype=torch.float64)
    high = torch.full_like(low, 1 / LEAST)
    for _ in range(HALVINGS):
        middle = (low * high).sqrt()
        expected = ((logits * middle[:, None, None]).softmax(-1) * logits).sum(-1).mean(-1)
        sharper = expected < wanted
        low, high = torch.where(sharper, middle, low), torch.where(sharper, high, middle)
    return 1 / (low * high).sqrt()


@torch.no_grad()
def divide_logits(network: SDN, temperatures: Tensor) -> None:
    """Divide the logits of every exit by its temperature, by dividing the weights of its last linear layer.

    Args:
        temperatures: float (exits,), the final classifier last.
    """
    for classifier, temperature in zip((*network.ics, network.end), temperatures.tolist(), strict=True):
        last = [layer for layer in classifier.modules() if isinstance(layer, nn.Linear)][-1]
        for parameter in last.parameters():
            parameter.div_(temperature)
