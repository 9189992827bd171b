"""SDN-VGG-16 of Kaya et al. 2019: 14 internal classifiers and the final one."""

from torch import nn

from export.networks.sdn import SDN, InternalClassifier, conv_batch_norm
from export.networks.spec import NetworkSpec, side_of

CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
POOL_AFTER = (2, 4, 7, 10, 13)


def vgg16(classes: int, input_size: tuple[int, int]) -> SDN:
    """13 convolution blocks and one fully connected block; a 2 x 2 max pool ends blocks 2, 4, 7, 10 and 13."""
    blocks: list[nn.Module] = []
    ics: list[nn.Module] = []
    inputs, size = 3, side_of(input_size, 2 ** len(POOL_AFTER))
    for number, channels in enumerate(CHANNELS, start=1):
        layers = [*conv_batch_norm(inputs, channels, 3, bias=True), nn.ReLU()]
        if number in POOL_AFTER:
            layers.append(nn.MaxPool2d(2))
            size //= 2
        blocks.append(nn.Sequential(*layers))
        ics.append(InternalClassifier(channels, size, classes))
        inputs = channels
    blocks.append(nn.Sequential(nn.Flatten(), nn.Linear(512 * size * size, 512), nn.ReLU(), nn.Dropout(0.5)))
    ics.append(nn.Linear(512, classes))
    end = nn.Sequential(nn.Linear(512, 512), nn.Dropout(0.5), nn.Linear(512, classes))
    return SDN(nn.Identity(), blocks, ics, end, (3, *input_size))


SPEC = NetworkSpec("vgg16", vgg16, input_size=(32, 32), exits=15)
