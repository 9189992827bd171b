"""The networks that are measured: shipped models, model folders, and networks with random weights at any size."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch

from device.bundle.reader import Bundle, load_bundle
from device.errors import UsageError
from export.bundle.comparison_frames import comparison_frames
from export.bundle.settings import BundleSettings
from export.bundle.writer import export_bundle, write_bundle
from export.calibration.card import ModelCard
from export.calibration.cost import operating_point, relative_costs, score
from export.calibration.table_file import TableFile
from export.networks.find import network_names, network_spec
from export.networks.loading import load_network
from export.networks.model_files import ModelFiles, find
from export.networks.sdn import SDN
from export.networks.weights import to_tensor

UNTRAINED = re.compile(r"(\w+)@(\d{1,4})")
CLASSES = tuple(f"class {number}" for number in range(10))


@dataclass(frozen=True)
class Subject:
    """One network.

    Args:
        name: for the tables.
        folder: its bundle.
        load: gives the network.
        files: of a trained network; None where the weights are random, so that shares of frames mean nothing.
    """

    name: str
    folder: Path
    load: Callable[[], SDN]
    files: ModelFiles | None = None

    @property
    def trained(self) -> bool:
        return self.files is not None

    @cached_property
    def network(self) -> SDN:
        return self.load()

    @cached_property
    def bundle(self) -> Bundle:
        return load_bundle(str(self.folder))


def subject(name: str, bundles: Path, split: int | None) -> Subject:
    """Export a bundle, and say what it is of.

    Args:
        name: a shipped model, a model folder, or NETWORK@SIDE for a network with random weights whose images have this side.
            The time that a layer takes does not depend on its weights.
        bundles: the folder for the bundle.
        split: number of exits on the device; None for all.

    Raises:
        UsageError: there is no such network, or it has no such size or split.
    """
    settings = BundleSettings(split=split)
    untrained = UNTRAINED.fullmatch(name)
    if untrained is None:
        files = find(name)
        folder = bundles / Path(name).name
        export_bundle(files.model, folder, settings, files=files)
        return Subject(Path(name).name, folder, partial(load_network, files), files)
    family, side = untrained[1], int(untrained[2])
    if family not in network_names():
        raise UsageError(f"found --models {name}; expected one of {', '.join(network_names())} before the @")
    network, name = random_network(family, side), f"{family}-{side}"
    write_bundle(
        name, network, _card(network), TableFile(np.add.outer(np.arange(8), np.arange(8)) * 2 + 20),
        bundles / name, settings, comparison_frames(None, (side, side), 20)[0],
    )  # fmt: skip
    return Subject(name, bundles / name, lambda: network)


def random_network(family: str, side: int) -> SDN:
    """A network with random weights whose features have the scale that batch norm gives trained ones."""
    torch.manual_seed(0)
    network = network_spec(family).build(len(CLASSES), (side, side))
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # take the statistics of the frames as they are
    with torch.no_grad():
        network.train()(to_tensor(comparison_frames(None, (side, side), 16)[0]))
    return network.eval()


def _card(network: SDN) -> ModelCard:
    """What a bundle needs of a card. Its thresholds mean nothing."""
    costs, scores = relative_costs(network), score(network, np.zeros((1, *network.input_shape[1:], 3), np.uint8))
    points = {rad: operating_point(scores, np.zeros(1, int), costs, 0.5) for rad in (5, 10)}
    return ModelCard(CLASSES, tuple(costs), points)
