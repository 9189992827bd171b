"""SDN-MobileNet (v1) of Kaya et al. 2019: 13 internal classifiers and the final one."""

from torch import nn

from export.networks.sdn import SDN, InternalClassifier, conv_batch_norm
from export.networks.spec import NetworkSpec, Recipe, side_of

# (channels, stride) of each depthwise separable block
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


def mobilenet(classes: int, input_size: tuple[int, int]) -> SDN:
    """A 3 x 3 stem, then 13 depthwise separable blocks, four of which halve the map."""
    blocks: list[nn.Module] = []
    ics: list[nn.Module] = []
    inputs, size = 32, side_of(input_size, 16)
    for channels, stride in BLOCKS:
        size //= stride
        depthwise = conv_batch_norm(inputs, inputs, 3, stride, groups=inputs)
        pointwise = conv_batch_norm(inputs, channels, 1)
        blocks.append(nn.Sequential(*depthwise, nn.ReLU(), *pointwise, nn.ReLU()))
        ics.append(InternalClassifier(channels, size, classes))
        inputs = channels
    stem = nn.Sequential(*conv_batch_norm(3, 32, 3), nn.ReLU())
    end = nn.Sequential(nn.AvgPool2d(size), nn.Flatten(), nn.Linear(1024, classes))
    return SDN(stem, blocks, ics, end, (3, *input_size))


SPEC = NetworkSpec("mobilenet", mobilenet, input_size=(32, 32), exits=14, recipe=Recipe(epochs=13, compile=True))
