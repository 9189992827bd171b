"""All graphs of a bundle, and how finely its activations are sent as uint8."""

import numpy as np
import onnx

from device.payload.forms.uint8 import Uint8, quantised
from export.bundle.settings import BundleSettings
from export.calibration.card import ModelCard
from export.calibration.cost import stage_costs
from export.networks.sdn import SDN
from export.networks.weights import to_tensor
from export.onnx import graphs
from export.onnx.cuts import Traffic, cheapest_handover
from export.onnx.forms.find import form_graphs
from export.onnx.parity import session
from export.onnx.parts import ExportedBlocks

LEVELS = (255, 127, 63)
"""Numbers of levels that an activation may have as uint8, the finest first."""
SMALL = 1 / 7
"""Of the bytes of an activation in float32: what it should take as uint8."""


def bundle_graphs(
    exported: ExportedBlocks,
    shape: tuple[int, ...],
    settings: BundleSettings,
    threshold: float,
    steps: np.ndarray,
    traffic: Traffic | None = None,
) -> dict[str, onnx.ModelProto]:
    """All graphs of a bundle by name. There are only heads where all exits are on the device.

    Args:
        shape: (channels, height, width) of the input.
        threshold: the default of the nested head.
        steps: Q_def, (8, 8), for a head that contains DefQ.
        traffic: of the calibration images, which says where the nested head is cut; None: behind every exit.
    """
    split = settings.exits_on_device(len(exported.exits))
    nested, repeat_first_block, cuts = cheapest_handover(exported, split, traffic)
    table = steps if settings.fuse_defq else None
    heads = {
        "head": graphs.nested_head(nested, split, shape, threshold, cuts, repeat_first_block, table),
        "head_flat": graphs.flat_head(exported, split, shape),
    }
    if split == len(exported.exits):  # nothing is left for a host
        return heads
    return {**heads, "tail": graphs.tail(exported, split), **form_graphs(exported, split, shape)}


def traffic_of(network: SDN, card: ModelCard, rad: int) -> Traffic | None:
    """The traffic of the calibration images; None where the card does not tell their exits."""
    if rad not in card.shares:
        return None
    costs = stage_costs(network)
    macs = [block + classifier for block, classifier in zip(costs.blocks, costs.classifiers, strict=False)]
    return Traffic([*macs, costs.classifiers[-1]], card.shares[rad])


def activation_levels(head: onnx.ModelProto, frames: np.ndarray) -> int:
    """The finest of LEVELS with which the activations of some frames become SMALL; the coarsest where none does.

    Args:
        head: the flat head.
        frames: uint8 (n, h, w, c).
    """
    feed = {"image": to_tensor(frames).numpy(), "threshold": np.zeros(1, np.float32)}
    activation = session(head).run(["activation"], feed)[0]
    for levels in LEVELS:
        values = quantised(activation, levels).values
        if sum(len(Uint8.deflated(each.tobytes())) for each in values) <= activation.nbytes * SMALL:
            return levels
    return LEVELS[-1]
