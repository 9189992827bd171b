"""Networks that compute in bfloat16.

Processors with AMX compute 1.4 to 2.9 times as fast in bfloat16 as in float32. Processors without AVX-512 emulate it, which
is far slower.
"""

from functools import partial

import torch
from torch import Tensor, autocast, nn

from export.networks.sdn import SDN


class InBfloat16(SDN):
    """An SDN whose convolutions and linear layers compute in bfloat16 and sum in float32; its logits are float32.

    Args:
        network: it must not be used on its own afterwards, because its depthwise convolutions are changed.
    """

    def __init__(self, network: SDN) -> None:
        super().__init__(
            network.stem, [*network.blocks], [*network.ics], network.end, network.input_shape, network.exit_numbers
        )
        slow_depthwise_in_float32(self)
        self.train(network.training)

    def exits(self, images: Tensor, count: int) -> Tensor:
        with autocast("cpu", dtype=torch.bfloat16):
            return super().exits(images, count)


def slow_depthwise_in_float32(network: nn.Module) -> None:
    """Keep depthwise convolutions with a stride, those with kernels larger than 3 x 3, and those of maps of 2 x 2 pixels out
    of the autocast.

    oneDNN (PyTorch 2.13, CPU) has no fast bfloat16 gradient of these convolutions: it takes 2 to 30 times as long as in
    float32.
    """

    def forward(convolution: nn.Conv2d, features: Tensor) -> Tensor:
        if convolution.stride[0] == 1 and convolution.kernel_size[0] <= 3 and features.shape[-1] > 2:
            return type(convolution).forward(convolution, features)
        with autocast("cpu", enabled=False):
            return type(convolution).forward(convolution, features.float())

    for each in network.modules():
        if isinstance(each, nn.Conv2d) and each.groups == each.in_channels > 1:
            each.forward = partial(forward, each)  # type: ignore[method-assign]
