"""Measures what a model card holds: costs, accuracies, thresholds and last exits of a network."""

from dataclasses import replace

import numpy as np
import torch

from device.loop.exits import exit_histogram, first_confident
from export.calibration.card import ImageCounts, ModelCard
from export.calibration.cost import RADS, ExitScores, exit_accuracies, rad_threshold, relative_costs, score
from export.calibration.last_exit import measured_last_exits
from export.data.backgrounds import with_others
from export.data.classes import check_classes
from export.data.images import Dataset
from export.networks.loading import build_network
from export.networks.model_files import ModelFiles
from export.networks.model_folder import ModelDescription
from export.networks.sdn import SDN
from export.networks.weights import trained_classes


def calibrate(files: ModelFiles, network: SDN, data: Dataset, backgrounds: np.ndarray | None = None) -> ModelCard:
    """The model card of a network. Thresholds follow from the calibration images alone; on the test images the accuracy
    of every exit is measured, and nothing is chosen.

    Args:
        network: in evaluation mode, with the weights of ``files``.
        backgrounds: uint8 (n, h, w, 3): each calibration photograph counts once as it was taken and once before one of them.

    Raises:
        DataError: the classes of the data are not those of the network.
    """
    check_classes(network, data, trained_classes(files.weights))
    seen = data.calibration if backgrounds is None else with_others(data.calibration, backgrounds)
    costs, labels = costs_of(files.description, network), seen.labels
    scores, test = score(network, seen.pixels), score(network, data.test.pixels)
    points = {rad: rad_threshold(scores, labels, costs, rad) for rad in RADS}
    thresholds = {rad: point.threshold for rad, point in points.items()}
    return ModelCard(
        data.classes,
        tuple(round(each, 6) for each in costs),
        {rad: point.rounded() for rad, point in points.items()},
        model=files.model,
        weights_sha256=files.sha256,
        last_exits=measured_last_exits(scores, labels, costs, thresholds),
        accuracy_calibration=rounded_accuracies(scores, labels),
        accuracy_test=rounded_accuracies(test, data.test.labels),
        images=ImageCounts(len(labels), len(data.test.labels), len(labels) - len(data.calibration.labels)),
        shares={rad: rounded_shares(scores, threshold) for rad, threshold in thresholds.items()},
        data=data.facts(),
    )


def costs_of(description: ModelDescription, network: SDN) -> list[float]:
    """Relative cost of every exit. Those of a network that ends at an internal classifier are relative to the network that it was
    cut from.

    Args:
        network: of this description.
    """
    if not description.ends:
        return relative_costs(network)
    whole = build_network(replace(description, ends=0), len(network(torch.zeros(1, *network.input_shape))[0, 0]))
    return relative_costs(whole)[: len(network.ics) + 1]


def rounded_accuracies(scores: ExitScores, labels: np.ndarray) -> tuple[float, ...]:
    """Accuracy of every exit when all images leave there, with four decimals."""
    return tuple(round(each, 4) for each in exit_accuracies(scores, labels))


def rounded_shares(scores: ExitScores, threshold: float) -> tuple[float, ...]:
    """Share of the images that leave at each exit, with four decimals."""
    histogram = exit_histogram(first_confident(scores.confidences, threshold), len(scores.confidences))
    return tuple(round(float(each), 4) for each in histogram / histogram.sum())
