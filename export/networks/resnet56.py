"""SDN-ResNet-56 of Kaya et al. 2019: 27 internal classifiers and the final one.

Their network is for images of 32 x 32 pixels. From PHOTOGRAPH pixels up the stem is that of the ResNets for photographs (He et al.
2016): a 7 x 7 convolution with stride 2 and a 3 x 3 max pool with stride 2. At 128 x 128 pixels the blocks then see maps as large as
at 32 x 32 without it, and cost as much.
"""

from torch import Tensor, nn

from export.networks.sdn import SDN, InternalClassifier, conv_batch_norm
from export.networks.spec import PHOTOGRAPH, NetworkSpec, Recipe, side_of


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions ``c`` beside a shortcut ``sc`` (1 x 1 convolution where the shape changes)."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.c = nn.Sequential(
            *conv_batch_norm(inputs, channels, 3, stride), nn.ReLU(), *conv_batch_norm(channels, channels, 3)
        )
        same = stride == 1 and inputs == channels
        self.sc = nn.Sequential() if same else nn.Sequential(*conv_batch_norm(inputs, channels, 1, stride))
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.relu(self.c(features) + self.sc(features))
        return out


def resnet56(classes: int, input_size: tuple[int, int]) -> SDN:
    """27 basic blocks: 9 of 16, 9 of 32 and 9 of 64 channels; two of them halve the map. Images: square; below 64 pixels a
    multiple of 4, from 64 pixels up a multiple of 16."""
    photographs = input_size[0] >= PHOTOGRAPH
    if photographs:
        stem = nn.Sequential(*conv_batch_norm(3, 16, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))
    else:
        stem = nn.Sequential(*conv_batch_norm(3, 16, 3), nn.ReLU())
    blocks: list[nn.Module] = []
    ics: list[nn.Module] = []
    inputs, size = 16, side_of(input_size, 16) // 4 if photographs else side_of(input_size, 4)
    for channels in (16, 32, 64):
        for index in range(9):
            stride = 2 if index == 0 and channels != 16 else 1
            size //= stride
            blocks.append(BasicBlock(inputs, channels, stride))
            ics.append(InternalClassifier(channels, size, classes))
            inputs = channels
    end = nn.Sequential(nn.AvgPool2d(size), nn.Flatten(), nn.Linear(64, classes))
    return SDN(stem, blocks, ics, end, (3, *input_size))


SPEC = NetworkSpec(
    "resnet56", resnet56, input_size=(32, 32), exits=28, recipe=Recipe(epochs=11, peak_rate=0.06, compile=True)
)
