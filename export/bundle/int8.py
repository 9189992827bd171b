"""The graphs of a bundle whose head and tail compute in 8 bits (``defq bundle --int8``), calibrated anew and checked."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from device.errors import DataError
from export.bundle.graph_set import activation_levels, bundle_graphs, traffic_of
from export.bundle.settings import BundleSettings
from export.calibration.card import ModelCard
from export.calibration.cost import score
from export.calibration.int8 import Int8Comparison, recalibrated
from export.data import cifar10, datasets
from export.data.classes import check_classes
from export.data.images import Dataset, Images
from export.networks.sdn import SDN
from export.networks.weights import to_tensor
from export.onnx.int8 import quantised_blocks
from export.onnx.parity import compare_exits
from export.onnx.parts import ExportedBlocks
from export.onnx.scores import graph_scores

GRAPHS = ("head", "tail", "from_coefficients")
"""Graphs that compute in 8 bits. The flat head, for GPUs, stays float32: TensorRT 8 takes int8 only with zero points of 0, which is
slower on processors, and a Jetson Nano has no int8 at all; float16 is what TensorRT is for here (--fp16)."""
SCALE_IMAGES = 200
"""Calibration images whose activations set the scales. 100 and 500 gave the same accuracies on the shipped networks."""


class Int8Parts(NamedTuple):
    """Everything about a bundle that differs from the same in float32.

    graphs: all graphs by name, of which GRAPHS compute in 8 bits.
    levels: of an activation as uint8; None where all exits are on the device.
    card: with thresholds, accuracies and shares of the network in 8 bits.
    comparison: with float32, at the default RAD.
    """

    graphs: dict[str, onnx.ModelProto]
    levels: int | None
    card: ModelCard
    comparison: Int8Comparison


def calibration_images(
    data: Dataset | str | Path | None,
    network: SDN,
    classes: tuple[str, ...],
    fit: str,
    group: str = "",
    source: str = cifar10.NAME,
    needed: bool = True,
) -> Images | None:
    """The calibration images of the data set; None where there are none and none are needed.

    Args:
        data: a data set, the folder of one, or None for the places that datasets.load knows; nothing is downloaded.
        fit, group, source: how images are brought to the network's size and split, and which they are, as in datasets.load.
        needed: whether a bundle in 8 bits is to be calibrated with them.

    Raises:
        DataError: there are none and they are needed, they cannot be read, or they are not of the network's classes.
    """
    try:
        found = datasets.given(data, network.input_shape[1:], fit, group, source=source, download=False)
    except DataError:
        if isinstance(data, (str, Path)) or datasets.named(None, source):
            raise
        if not needed:
            return None
        raise DataError(
            "found no calibration images for --int8; expected those of the data set that the network was trained on, because "
            "they set the scales; name its folder with --data, or leave --int8 out"
        ) from None
    if not needed and list(found.classes) != list(classes):
        return None
    check_classes(network, found, classes)
    return found.calibration


def in_int8(
    network: SDN,
    exported: ExportedBlocks,
    float32: dict[str, onnx.ModelProto],
    card: ModelCard,
    steps: np.ndarray,
    settings: BundleSettings,
    images: Images,
    frames: np.ndarray,
    origin: str,
) -> Int8Parts:
    """Quantise a network, calibrate its thresholds anew, and check its head and tail against the whole network in 8 bits.

    Prints how exits, labels and accuracy differ from float32, with a warning where they differ by too much.

    Args:
        exported: its blocks in float32.
        float32: the graphs of the bundle in float32.
        card: of the network in float32.
        steps: Q_def, (8, 8).
        images: for calibration.
        frames: uint8 (n, h, w, c) to compare the graphs on; ``origin`` names them.

    Raises:
        DataError: head and tail do not agree with the whole network.
    """
    shape, rad = network.input_shape, settings.rad
    quantised = quantised_blocks(exported, shape, to_tensor(images.pixels[:SCALE_IMAGES]).numpy())
    scores = graph_scores(quantised, shape, images.pixels)
    new = recalibrated(card, scores, images.labels, keep_thresholds=settings.last_exit)
    threshold = float(new.thresholds[rad].threshold)
    comparison = Int8Comparison.of(
        scores, threshold, score(network, images.pixels), float(card.thresholds[rad].threshold), images.labels, list(card.relative_costs)
    )  # fmt: skip
    print(comparison.told())
    if warning := comparison.warning():
        print(f"warning: {warning}", file=sys.stderr, flush=True)

    graphs = bundle_graphs(quantised, shape, settings, threshold, steps, traffic_of(network, new, rad))
    levels = activation_levels(graphs["head_flat"], frames[:50]) if "tail" in graphs else None
    graphs = {name: graph if name in GRAPHS else float32[name] for name, graph in graphs.items()}
    whole = graph_scores(quantised, shape, frames)
    compare_exits(
        whole, "the whole network in 8 bits", "head", graphs["head"], graphs.get("tail"), threshold, frames, origin
    )
    return Int8Parts(graphs, levels, new, comparison)
