"""Checks that a network, a data set and a list of class names are of the same classes."""

from collections.abc import Sequence

import torch

from device.errors import DataError
from export.data.images import Dataset
from export.networks.sdn import SDN

SHOWN = 12  # names in a message


def logit_count(network: SDN) -> int:
    """The number of classes of a network.

    Raises:
        DataError: its exits have different numbers of classes.
    """
    with torch.no_grad():
        images = torch.zeros(1, *network.input_shape)
        features, counts = network.stem(images), []
        for block, classifier in zip(network.blocks, network.ics, strict=True):
            features = block(features)
            counts.append(classifier(features).shape[-1])
        counts.append(network.end(features).shape[-1])
    if len(set(counts)) > 1:
        raise DataError(
            f"found exits of {', '.join(map(str, counts))} classes in one network; expected the same number at every exit; "
            "give all classifiers as many outputs as the network has classes"
        )
    return int(counts[0])


def check_labels(network: SDN, labels: Sequence[str]) -> None:
    """Check that there is one name for each class of a network.

    Raises:
        DataError: there are fewer or more.
    """
    count = logit_count(network)
    if count != len(labels):
        raise DataError(
            f"found {len(labels)} class names ({named(labels)}) for a network of {count} classes; expected one for each class; "
            "take the names that it was trained with"
        )


def check_classes(network: SDN, data: Dataset, labels: Sequence[str] = ()) -> None:
    """Check that a data set has the classes that a network was trained for.

    Args:
        network: in evaluation mode.
        labels: the names of the network's classes, in order, where they are known.

    Raises:
        DataError: the data set has other classes, or another number of them.
    """
    count = logit_count(network)
    wanted = f"{count} classes ({named(labels)})" if labels else f"{count} classes"
    if count != len(data.classes) or (labels and list(labels) != list(data.classes)):
        raise DataError(
            f"found {len(data.classes)} classes ({named(data.classes)}) in the data; expected the {wanted} that the network was "
            "trained for; name other data with --data, or other weights with --weights"
        )


def named(labels: Sequence[str]) -> str:
    """The names for a message: all of them, or the first ones and the number of the others."""
    return ", ".join(labels[:SHOWN]) + (f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else "")
