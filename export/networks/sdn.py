"""Shallow-Deep Networks: a backbone with an internal classifier (exit) after every block.

Kaya, Hong, Dumitras, "Shallow-Deep Networks: Understanding and Mitigating Network Overthinking", ICML 2019.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class SDN(nn.Module):
    """A multi-exit classifier: ``stem``, then ``blocks[i]`` each followed by classifier ``ics[i]``, then ``end``.

    The exporter reads these four attributes and ``input_shape``; calibration also calls the network, attacks call
    ``exits``. To add a network of your own, hand its modules to this class (docs/importing.md).

    Args:
        input_shape: (channels, height, width) of the images.
        exit_numbers: of the blocks of the whole network, from 1, that the classifiers ``ics`` are behind, where blocks without
            one were joined (export/networks/exits.py); None: every block has its own.

    Shape: images float32 (batch, channels, height, width) in [0, 1], RGB, no normalisation.
    ``forward`` returns the logits of every exit, float32 (exits, batch, classes); the final classifier is the last.
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: Sequence[nn.Module],
        ics: Sequence[nn.Module],
        end: nn.Module,
        input_shape: tuple[int, int, int],
        exit_numbers: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if len(blocks) != len(ics):
            raise ValueError(
                f"found {len(blocks)} blocks and {len(ics)} internal classifiers; expected one classifier a block"
            )
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.ics = nn.ModuleList(ics)
        self.end = end
        self.input_shape = input_shape
        self.exit_numbers = tuple(exit_numbers or range(1, len(blocks) + 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.exits(images, len(self.blocks) + 1)

    def exits(self, images: Tensor, count: int) -> Tensor:
        """Logits of the first ``count`` exits only, float32 (count, batch, classes): what the device computes."""
        features = self.stem(images)
        logits = []
        for block, classifier in zip(self.blocks[:count], self.ics[:count], strict=True):
            features = block(features)
            logits.append(classifier(features))
        if count > len(self.blocks):
            logits.append(self.end(features))
        return torch.stack([each.float() for each in logits])


POOLED = 4
"""Internal classifiers pool larger maps to 4 x 4 pixels."""


class InternalClassifier(nn.Module):
    """Pools a map of size x size pixels to 4 x 4 as a learned mix of max and average, then one linear layer.

    Maps of 4 x 4 and smaller are not pooled. ``alpha`` weighs max pooling, 1 - alpha average pooling (SDN paper, section 4).
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.pools = size > POOLED
        if self.pools:
            self.alpha = nn.Parameter(torch.full((1,), 0.5))
            if size % POOLED:
                self.max_pool: nn.Module = AdaptivePool(size, torch.amax)
                self.mean_pool: nn.Module = AdaptivePool(size, torch.mean)
            else:
                self.max_pool, self.mean_pool = nn.MaxPool2d(size // POOLED), nn.AvgPool2d(size // POOLED)
        pooled = min(size, POOLED)
        self.fc = nn.Linear(channels * pooled * pooled, classes)

    def forward(self, features: Tensor) -> Tensor:
        if self.pools:
            features = self.alpha * self.max_pool(features) + (1 - self.alpha) * self.mean_pool(features)
        logits: Tensor = self.fc(features.flatten(1))
        return logits


class AdaptivePool(nn.Module):
    """Computes nn.AdaptiveMaxPool2d(4) or nn.AdaptiveAvgPool2d(4) of maps of size x size pixels from slices.

    ONNX has no adaptive pooling for sizes that 4 does not divide; slices can be exported.

    Args:
        reduce: torch.amax or torch.mean.
    """

    def __init__(self, size: int, reduce: Callable[..., Tensor]) -> None:
        super().__init__()
        self.windows = [(i * size // POOLED, -(-(i + 1) * size // POOLED)) for i in range(POOLED)]
        self.reduce = reduce

    def forward(self, features: Tensor) -> Tensor:
        rows = [self.reduce(features[:, :, first:last], dim=2, keepdim=True) for first, last in self.windows]
        features = torch.cat(rows, dim=2)
        columns = [self.reduce(features[:, :, :, first:last], dim=3, keepdim=True) for first, last in self.windows]
        return torch.cat(columns, dim=3)


def conv_batch_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> list[nn.Module]:
    """A convolution that keeps the size of the map, apart from its stride, and its batch norm."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias),
        nn.BatchNorm2d(outputs),
    ]


def folded(network: SDN) -> SDN:
    """A copy of a network in evaluation mode with every batch norm folded into the convolution before it.

    It serves for inference and for gradients with respect to images: the answers are the same up to rounding, and it is a
    tenth to a third faster. Its parameters have no gradients.
    """
    network = copy.deepcopy(network).requires_grad_(False)
    for layers in [each for each in network.modules() if isinstance(each, nn.Sequential)]:
        for index in range(len(layers) - 1):
            conv, norm = layers[index], layers[index + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                layers[index], layers[index + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return network.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
