"""Adaptive pooling for exported graphs: the same numbers as export.networks.sdn.AdaptivePool from a few operators.

ONNX has no adaptive pooling. As slices, one for each of the four windows in each direction, it takes 36 operators: 250 us on a
map of 6 x 6 pixels, where the block in front of the exit takes 100.
"""

import copy

import torch
from torch import Tensor, nn

from export.networks.sdn import POOLED, AdaptivePool


def with_few_operators(classifier: nn.Module) -> nn.Module:
    """A copy of a classifier whose adaptive pools are exported as few operators; the classifier itself where it has none."""
    if not any(isinstance(each, AdaptivePool) for each in classifier.modules()):
        return classifier
    copied = copy.deepcopy(classifier)
    for module in copied.modules():
        for name, child in module.named_children():
            if isinstance(child, AdaptivePool):
                made = GatheredMax if child.reduce is torch.amax else MeanAsProduct
                setattr(module, name, made(child.windows))
    return copied


class GatheredMax(nn.Module):
    """The largest value of each window, found among all windows of the smallest size. A larger one is the maximum of two of these:
    the one that begins where it begins, and the one that ends where it ends.

    Args:
        windows: (first, last) row, and column, of each, without ``last``. None is more than twice as large as another.
    """

    first: Tensor
    last: Tensor

    def __init__(self, windows: list[tuple[int, int]]) -> None:
        super().__init__()
        size = min(last - first for first, last in windows)
        self.register_buffer("first", torch.tensor([first for first, _ in windows]))
        self.register_buffer("last", torch.tensor([last - size for _, last in windows]))
        self.one_size = bool(torch.equal(self.first, self.last))
        self.pool = nn.MaxPool2d(size, 1)

    def forward(self, features: Tensor) -> Tensor:
        pooled: Tensor = self.pool(features)
        for axis in (2, 3):
            found = pooled.index_select(axis, self.first)
            pooled = found if self.one_size else torch.maximum(found, pooled.index_select(axis, self.last))
        return pooled


class MeanAsProduct(nn.Module):
    """The mean of each window, as a product of the map's pixels and a matrix of their shares in each window."""

    shares: Tensor

    def __init__(self, windows: list[tuple[int, int]]) -> None:
        super().__init__()
        size = windows[-1][1]
        shares = torch.zeros(size, POOLED)
        for window, (first, last) in enumerate(windows):
            shares[first:last, window] = 1 / (last - first)
        self.register_buffer("shares", torch.kron(shares, shares))

    def forward(self, features: Tensor) -> Tensor:
        channels = int(features.shape[1])
        pixels = features.reshape(
            -1, channels, len(self.shares)
        )  # a batch of -1 keeps the shape a constant of the graph
        return (pixels @ self.shares).reshape(-1, channels, POOLED, POOLED)
