"""The ways to run a network that are compared, and the graphs that they need."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from export.bundle.frame_set import MadeFrames
from export.bundle.settings import BundleSettings
from export.bundle.writer import write_bundle
from export.calibration.card import ModelCard
from export.calibration.cost import OperatingPoint
from export.calibration.table_file import TableFile
from export.networks.sdn import SDN
from export.onnx.parts import graph_part, model


class Contender(NamedTuple):
    """A way to run the network. where: ``device``, ``split`` or ``JPEG``, as defq plan calls it."""

    name: str
    where: str
    exits: bool
    """Whether frames may leave early."""
    defq: bool
    """Whether DefQ is on while the monitor suspects an attack."""

    @property
    def uses_link(self) -> bool:
        return self.where != "device"


WHOLE = Contender("whole network on the device", "device", False, False)
EXITS = Contender("all exits on the device", "device", True, False)
EXITS_DEFQ = Contender("all exits on the device, DefQ auto", "device", True, True)
JPEG = Contender("JPEG to the host", "JPEG", False, False)
SPLIT_PLAIN = Contender("split without exits", "split", False, False)
SPLIT = Contender("split with exits", "split", True, False)
SPLIT_DEFQ = Contender("split with exits, DefQ auto", "split", True, True)
CONTENDERS = (WHOLE, EXITS, EXITS_DEFQ, JPEG, SPLIT_PLAIN, SPLIT, SPLIT_DEFQ)


def write_contenders(
    name: str,
    network: SDN,
    card: ModelCard,
    table: TableFile,
    split: int,
    frames: np.ndarray,
    made: MadeFrames,
    out: Path,
) -> None:
    """Write ``whole.onnx`` (no exits), and the bundles ``all`` (all exits on the device), ``split`` and ``plain``.

    ``plain`` is split at the same block but has the one exit that every bundle has to have, at the split; the threshold with
    which it is run lets no frame leave there.

    Args:
        frames: uint8 (n, h, w, c), to compare the graphs with PyTorch on.
        made: the frame set of the bundles.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "whole.onnx").write_bytes(whole_graph(network).SerializeToString())
    for folder, exits in (("all", None), ("split", split)):
        write_bundle(name, network, card, table, out / folder, BundleSettings(exits), frames, "frames", made)
    plain, plain_card = without_exits(network, card, split)
    bare = TableFile(table.steps)  # gate and monitor are of the network with exits
    write_bundle(name, plain, plain_card, bare, out / "plain", BundleSettings(1), frames, "frames", made)


def whole_graph(network: SDN) -> onnx.ModelProto:
    """The layers alone: image float32 (n, c, h, w) in [0, 1] -> label int64 (n,) and confidence float32 (n,)."""
    layers = nn.Sequential(network.stem, *network.blocks, network.end, nn.Softmax(1))
    with torch.no_grad():
        part = graph_part(layers, torch.zeros(1, *network.input_shape), "image", "softmax")
    answer = [
        helper.make_node("ArgMax", ["softmax"], ["label"], axis=1, keepdims=0),
        helper.make_node("ReduceMax", ["softmax"], ["confidence"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        [*part.nodes, *answer], "whole",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *network.input_shape])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
         helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["batch"])],
        part.weights,
    )  # fmt: skip
    return model(graph, "The whole network without exits.")


def without_exits(network: SDN, card: ModelCard, split: int) -> tuple[SDN, ModelCard]:
    """The network as one block up to the split, with the classifier there, and the rest as its end."""
    rest = nn.Sequential(*network.blocks[split:], network.end)
    plain = SDN(
        network.stem, [nn.Sequential(*network.blocks[:split])], [network.ics[split - 1]], rest, network.input_shape
    )
    points = {rad: OperatingPoint(1.0, 0.0, 1.0, 0.0, 0.0) for rad in card.thresholds}
    costs = (card.relative_costs[split - 1], 1.0)
    plain_card = replace(
        card, relative_costs=costs, thresholds=points, shares={}, accuracy_calibration=(), accuracy_test=()
    )
    return plain.eval(), plain_card
