"""SDN-ResNet-56 of Kaya et al. 2019: 27 internal classifiers and the final one."""

from torch import Tensor, nn

from export.networks.sdn import SDN, InternalClassifier, conv_batch_norm
from export.networks.spec import NetworkSpec, Recipe, side_of


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
    """27 basic blocks: 9 of 16, 9 of 32 and 9 of 64 channels."""
    blocks: list[nn.Module] = []
    ics: list[nn.Module] = []
    inputs, size = 16, side_of(input_size, 4)
    for channels in (16, 32, 64):
        for index in range(9):
            stride = 2 if index == 0 and channels != 16 else 1
            size //= stride
            blocks.append(BasicBlock(inputs, channels, stride))
            ics.append(InternalClassifier(channels, size, classes))
            inputs = channels
    stem = nn.Sequential(*conv_batch_norm(3, 16, 3), nn.ReLU())
    end = nn.Sequential(nn.AvgPool2d(size), nn.Flatten(), nn.Linear(64, classes))
    return SDN(stem, blocks, ics, end, (3, *input_size))


SPEC = NetworkSpec(
    "resnet56", resnet56, input_size=(32, 32), exits=28, recipe=Recipe(epochs=11, peak_rate=0.06, compile=True)
)
