"""Cost and accuracy of every exit of a network, and thresholds for a relative accuracy drop (RAD)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from device.loop.exits import efcy, first_confident, t3_er
from export.networks.sdn import SDN
from export.networks.weights import to_tensor

RADS = (5, 10)
"""The relative accuracy drops, in percent, for which everything is calibrated."""
THRESHOLD_GRID = np.round(np.arange(0.0, 1.0001, 0.01), 2)


class ExitScores(NamedTuple):
    """What every exit answers for images.

    confidences: float32 (exits, images), the maximum of the softmax. classes: int64 (exits, images), its argmax.
    """

    confidences: np.ndarray
    classes: np.ndarray


class OperatingPoint(NamedTuple):
    """A threshold and what it gives on the images on which it was measured.

    threshold: in [0, 1]; the mean where images have thresholds of their own. accuracy: of the early exits. mean_cost: mean
    relative cost. efcy, t3_er: device/loop/exits.py.
    """

    threshold: float
    accuracy: float
    mean_cost: float
    efcy: float
    t3_er: float

    def rounded(self) -> "OperatingPoint":
        """With four decimals, as model cards keep it."""
        return OperatingPoint(*(round(value, 4) for value in self))


@dataclass(frozen=True, slots=True)
class StageCosts:
    """Multiply-accumulates of the parts of a network.

    Args:
        blocks: of every block; those of the stem count with the first one.
        classifiers: of every internal classifier and, last, of the final one.
    """

    blocks: tuple[int, ...]
    classifiers: tuple[int, ...]

    def spent(self, exits: Sequence[int] | None = None) -> np.ndarray:
        """Multiply-accumulates of a frame that leaves at each exit of a network that has internal classifiers behind some of
        its blocks only.

        Args:
            exits: the numbers of these blocks, from 1, ascending; None: all blocks.

        Returns:
            int64 (exits + 1,), ascending; the last is that of the final classifier.
        """
        kept = range(1, len(self.blocks) + 1) if exits is None else exits
        blocks = np.cumsum(self.blocks)[[*(number - 1 for number in kept), -1]]
        spent: np.ndarray = blocks + np.cumsum(
            [*(self.classifiers[number - 1] for number in kept), self.classifiers[-1]]
        )
        return spent

    def relative(self, exits: Sequence[int] | None = None) -> list[float]:
        """The same as shares of the cost of this network: relative costs, ascending, the last 1.0."""
        spent = self.spent(exits)
        return [float(each) for each in spent / spent[-1]]


def stage_costs(network: SDN) -> StageCosts:
    """Count the multiply-accumulates of the convolutions and linear layers of a network."""
    counts: dict[nn.Module, int] = {}

    def count(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        if isinstance(layer, nn.Conv2d):
            counts[layer] = output[0].numel() * weight[0].numel()
        else:
            counts[layer] = weight.numel()

    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.no_grad():
            network(torch.zeros(1, *network.input_shape))
    finally:
        for hook in hooks:
            hook.remove()

    def macs(part: nn.Module) -> int:
        return sum(counts[layer] for layer in part.modules() if layer in counts)

    blocks = [macs(block) for block in network.blocks]
    blocks[0] += macs(network.stem)
    return StageCosts(tuple(blocks), tuple(macs(each) for each in (*network.ics, network.end)))


def relative_costs(network: SDN) -> list[float]:
    """Relative cost of every exit: the multiply-accumulates that are needed to leave there, its own classifier and the
    earlier classifiers included, divided by those of the whole network.

    Returns:
        One number for each exit, ascending, the last 1.0.
    """
    return stage_costs(network).relative()


@torch.no_grad()
def score(network: SDN, images: np.ndarray | torch.Tensor, batch: int = 250) -> ExitScores:
    """Run ``images`` through every exit.

    Args:
        network: in evaluation mode.
        images: uint8 (n, height, width, 3), or float32 (n, 3, height, width) in [0, 1].
    """
    confidences, classes = [], []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        tensor = part if isinstance(part, torch.Tensor) else to_tensor(part)
        best = network(tensor).softmax(-1).max(-1)
        confidences.append(best.values.numpy())
        classes.append(best.indices.numpy())
    return ExitScores(np.concatenate(confidences, axis=1), np.concatenate(classes, axis=1))


def exit_accuracies(scores: ExitScores, labels: np.ndarray) -> list[float]:
    """Accuracy of every exit when all images leave there, float (exits,)."""
    return [float(each) for each in (scores.classes == labels).mean(axis=1)]


def early_exit(scores: ExitScores, threshold: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where images leave at a threshold, and what they are classified as there.

    Args:
        threshold: in [0, 1], one for all images or float (images,).

    Returns:
        The 0-based exit and the predicted class of every image, both int64 (images,).
    """
    exits = first_confident(scores.confidences, threshold)
    return exits, scores.classes[exits, np.arange(len(exits))]


def operating_point(
    scores: ExitScores, labels: np.ndarray, costs: list[float], threshold: float | np.ndarray
) -> OperatingPoint:
    """What a threshold gives on images.

    Args:
        labels: int (images,), the true classes.
        costs: relative cost of every exit in ``scores``.
        threshold: in [0, 1], one for all images or float (images,).
    """
    exits, classes = early_exit(scores, threshold)
    return OperatingPoint(
        float(np.mean(threshold)),
        float((classes == labels).mean()),
        float(np.asarray(costs)[exits].mean()),
        efcy(exits, costs),
        t3_er(exits),
    )


def rad_threshold(
    scores: ExitScores, labels: np.ndarray, costs: list[float], drop_percent: float, grid: np.ndarray = THRESHOLD_GRID
) -> OperatingPoint:
    """The threshold for a relative accuracy drop of r percent: of those in ``grid`` whose early-exit accuracy is at least
    (1 - r / 100) x the accuracy of the final classifier, the one with the lowest mean cost. Where no threshold reaches this
    accuracy, the highest one.

    Args:
        labels: int (images,), the true classes of calibration images.
        costs: relative cost of every exit.
        drop_percent: r.
        grid: thresholds to choose from, ascending.
    """
    floor = (1 - drop_percent / 100) * float((scores.classes[-1] == labels).mean())
    points = [operating_point(scores, labels, costs, float(threshold)) for threshold in grid]
    accurate = [point for point in points if point.accuracy >= floor] or points[-1:]
    return min(accurate, key=lambda point: point.mean_cost)
