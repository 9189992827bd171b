"""A network of your own, in the one file that it takes:

    defq train  --network own_network.py:build --size 64 --data photographs/
    defq table  --network own_network.py:build
    defq bundle --network own_network.py:build --split 2 --out build/own

docs/importing.md says what a network must offer, and what becomes of this file.
"""

from torch import nn

from export.networks.sdn import SDN, InternalClassifier, conv_batch_norm
from export.networks.spec import side_of

CHANNELS = (8, 16, 16)


def build(classes: int, input_size: tuple[int, int]) -> SDN:
    """Three convolution blocks, each of which halves the map, and an exit behind each."""
    blocks, exits, inputs, side = [], [], 3, side_of(input_size, 8)
    for channels in CHANNELS:
        blocks.append(nn.Sequential(*conv_batch_norm(inputs, channels, 3), nn.ReLU(), nn.MaxPool2d(2)))
        inputs, side = channels, side // 2
        exits.append(InternalClassifier(channels, side, classes))
    end = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
    return SDN(nn.Identity(), blocks, exits, end, (3, *input_size))
