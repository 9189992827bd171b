"""The three networks of the paper, by name."""

from collections.abc import Callable

from export.networks.bfloat16 import InBfloat16, strided_depthwise_in_float32
from export.networks.mobilenet import mobilenet
from export.networks.resnet import resnet56
from export.networks.sdn import SDN, InternalClassifier, folded
from export.networks.vgg import vgg16

NETWORKS: dict[str, Callable[..., SDN]] = {"vgg16": vgg16, "resnet56": resnet56, "mobilenet": mobilenet}

__all__ = [
    "NETWORKS",
    "SDN",
    "InBfloat16",
    "InternalClassifier",
    "folded",
    "mobilenet",
    "resnet56",
    "strided_depthwise_in_float32",
    "vgg16",
]
