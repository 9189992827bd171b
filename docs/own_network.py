"""A network of your own, in the one file that it takes. Copy it to export/networks/own_network.py, and it is a network
like the others:

    defq train --model own_network --data photographs/
    defq table --model own_network --data photographs/
    defq bundle --model own_network --data photographs/ --split 2 --out build/own

Weights that were trained elsewhere: build the network, ``load_state_dict`` them, write them with
``export.networks.weights.save_network(network, Path("own.safetensors"))``, and begin with
``defq calibrate --model own_network --weights own.safetensors``. docs/importing.md says what a network must offer.
"""

from torch import nn

from export.networks.sdn import SDN, InternalClassifier, conv_batch_norm
from export.networks.spec import NetworkSpec, side_of

CHANNELS = (8, 16, 16)


def own_network(classes: int, input_size: tuple[int, int]) -> SDN:
    """Three convolution blocks, each of which halves the map, and an exit behind each."""
    blocks, exits, inputs, side = [], [], 3, side_of(input_size, 8)
    for channels in CHANNELS:
        blocks.append(nn.Sequential(*conv_batch_norm(inputs, channels, 3), nn.ReLU(), nn.MaxPool2d(2)))
        inputs, side = channels, side // 2
        exits.append(InternalClassifier(channels, side, classes))
    end = nn.Sequential(nn.AvgPool2d(side // 4), nn.Flatten(), nn.Linear(inputs * 4 * 4, classes))
    return SDN(nn.Identity(), blocks, exits, end, (3, *input_size))


SPEC = NetworkSpec("own_network", own_network, input_size=(64, 64), exits=4)
