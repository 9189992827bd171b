"""EfficientNet-Lite0 with an exit after each of its 16 blocks, for square photographs of 64 to 224 pixels.

The Lite family is EfficientNet (Tan and Le, ICML 2019) without squeeze-and-excite and with ReLU6, made for small boards and for
whole numbers. Source of the layers: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
Weights that were trained on ImageNet: export/networks/pretrained.py.
"""

from torch import Tensor, nn

from export.networks.halving import HalvingConv2d
from export.networks.sdn import SDN, InternalClassifier
from export.networks.spec import NetworkSpec, Recipe, side_of

# (expansion, channels, blocks, stride of the first block, kernel) of each stage
STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))  # fmt: skip
STEM, LAST = 32, 1280
BATCH_NORM_EPS = 1e-3
GREY, SCALE = 127 / 255, 255 / 128
"""(pixel x 255 - 127) / 128, as the network was trained on ImageNet. The stem subtracts GREY; the weights of its convolution
contain SCALE, which saves a pass over the pixels."""
SMALLEST, LARGEST, MULTIPLE = 64, 224, 32


class Centred(nn.Module):
    """Images float32 (n, 3, h, w) in [0, 1] minus middle grey."""

    def forward(self, images: Tensor) -> Tensor:
        return images - GREY


class MBConv(nn.Module):
    """Inverted bottleneck: a 1 x 1 convolution that widens the map, a depthwise one, and a 1 x 1 one that narrows it; beside
    them a shortcut where the shape does not change."""

    def __init__(self, inputs: int, channels: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        wide = inputs * expansion
        widen = [*_convolution(inputs, wide, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = [*_convolution(wide, wide, kernel, stride, groups=wide), nn.ReLU6()]
        self.layers = nn.Sequential(*widen, *depthwise, *_convolution(wide, channels, 1))
        self.shortcut = stride == 1 and inputs == channels

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.layers(features)
        return out + features if self.shortcut else out


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution and its batch norm."""
    if stride == 2:
        convolution: nn.Conv2d = HalvingConv2d(inputs, outputs, kernel, groups)
    else:
        convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPS)]


def efficientnet_lite0(classes: int, input_size: tuple[int, int]) -> SDN:
    """A stem that halves the map, then 16 blocks, four of which halve it again. Images: square, 64 to 224 pixels, a multiple
    of 32."""
    size = side_of(input_size, MULTIPLE, SMALLEST, LARGEST) // 2
    stem = nn.Sequential(Centred(), *_convolution(3, STEM, 3, stride=2), nn.ReLU6())
    blocks: list[nn.Module] = []
    ics: list[nn.Module] = []
    inputs = STEM
    for expansion, channels, count, first_stride, kernel in STAGES:
        for stride in (first_stride, *[1] * (count - 1)):
            size //= stride
            blocks.append(MBConv(inputs, channels, expansion, stride, kernel))
            ics.append(InternalClassifier(channels, size, classes))
            inputs = channels
    last = [*_convolution(inputs, LAST, 1), nn.ReLU6()]
    end = nn.Sequential(*last, nn.AvgPool2d(size), nn.Flatten(), nn.Dropout(0.2), nn.Linear(LAST, classes))
    return SDN(stem, blocks, ics, end, (3, *input_size))


SPEC = NetworkSpec("efficientnet_lite0", efficientnet_lite0, input_size=(96, 96), exits=17, recipe=Recipe(epochs=12))
