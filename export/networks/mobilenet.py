"""SDN-MobileNet (v1) of Kaya et al. 2019: 13 internal classifiers and the final one.

Their network is for images of 32 x 32 pixels. From PHOTOGRAPH pixels up the stem has stride 2, as in the MobileNet for photographs
(Howard et al. 2017, arXiv 1704.04861): at 224 x 224 pixels the maps are as large as there.
"""

from torch import nn

from export.networks.sdn import SDN, InternalClassifier, conv_batch_norm
from export.networks.spec import PHOTOGRAPH, NetworkSpec, Recipe, side_of

# (channels, stride) of each depthwise separable block
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


def mobilenet(classes: int, input_size: tuple[int, int]) -> SDN:
    """A 3 x 3 stem, which halves the map of photographs, then 13 depthwise separable blocks, four of which halve it. Images:
    square; below 64 pixels a multiple of 16, from 64 pixels up a multiple of 32."""
    stride = 2 if input_size[0] >= PHOTOGRAPH else 1
    stem = nn.Sequential(*conv_batch_norm(3, 32, 3, stride), nn.ReLU())
    blocks: list[nn.Module] = []
    ics: list[nn.Module] = []
    inputs, size = 32, side_of(input_size, 16 * stride) // stride
    for channels, stride in BLOCKS:
        size //= stride
        depthwise = conv_batch_norm(inputs, inputs, 3, stride, groups=inputs)
        pointwise = conv_batch_norm(inputs, channels, 1)
        blocks.append(nn.Sequential(*depthwise, nn.ReLU(), *pointwise, nn.ReLU()))
        ics.append(InternalClassifier(channels, size, classes))
        inputs = channels
    end = nn.Sequential(nn.AvgPool2d(size), nn.Flatten(), nn.Linear(1024, classes))
    return SDN(stem, blocks, ics, end, (3, *input_size))


SPEC = NetworkSpec("mobilenet", mobilenet, input_size=(32, 32), exits=14, recipe=Recipe(epochs=13, compile=True))
