"""models/NAME.json (what the exporter reads: costs, thresholds, accuracies) and models/NAME.md (the same for people)."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from device.errors import DataError
from device.loop.exits import exit_histogram, first_confident
from export.calibration.cost import ExitScores, exit_accuracies, rad_threshold, relative_costs, score
from export.calibration.last_exit import last_exit_card
from export.data.classes import check_classes
from export.data.datasets import CIFAR10, Dataset
from export.data.output import write_output
from export.networks import SDN
from export.networks.model_files import ModelFiles
from export.networks.weights import metadata, trained_classes

RADS = (5, 10)
USE = "* **Use**: research and demonstrations of early exits under attack. CIFAR-10 is no data for a product."


def calibrate(files: ModelFiles, network: SDN, data: Dataset) -> dict[str, Any]:
    """Cost, accuracy and thresholds of a network, from the calibration split; the test images only report.

    Raises:
        DataError: data of other classes than the network's.
    """
    check_classes(network, data, trained_classes(files.weights))
    costs = relative_costs(network)
    scores = score(network, data.calibration.pixels)
    points = {rad: rad_threshold(scores, data.calibration.labels, costs, rad) for rad in RADS}
    test = score(network, data.test.pixels)
    return {
        "model": files.model,
        "weights_sha256": files.sha256,
        "classes": list(data.classes),
        "data": data.facts(),
        "relative_costs": [round(each, 6) for each in costs],
        "thresholds": {str(rad): _rounded(point._asdict()) for rad, point in points.items()},
        "last_exit": last_exit_card(
            scores, data.calibration.labels, costs, {rad: point.threshold for rad, point in points.items()}
        ),
        "accuracy_calibration": _accuracies(scores, data.calibration.labels),
        "accuracy_test": _accuracies(test, data.test.labels),
        "images": {"calibration": len(data.calibration.labels), "test": len(data.test.labels)},
        "shares": {str(rad): _shares(scores, point.threshold) for rad, point in points.items()},
    }


def _accuracies(scores: ExitScores, labels: np.ndarray) -> list[float]:
    return [round(each, 4) for each in exit_accuracies(scores, labels)]


def _shares(scores: ExitScores, threshold: float) -> list[float]:
    """Share of calibration images that leave at each exit."""
    histogram = exit_histogram(first_confident(scores.confidences, threshold), len(scores.confidences))
    return [round(float(each), 4) for each in histogram / histogram.sum()]


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def read_card(files: ModelFiles) -> dict[str, Any]:
    """The calibration that belongs to the weights.

    Raises:
        DataError: absent, or made for other weights.
    """
    again = f"make it with: python -m export calibrate {files.option}"
    try:
        card: dict[str, Any] = json.loads(files.card.read_text())
        found = card["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"could not read the calibration {files.card} ({error}); {again}") from error
    if found != files.sha256:
        raise DataError(
            f"found a calibration for weights {str(found)[:12]} in {files.card}; the weights {files.weights} are "
            f"{files.sha256[:12]}; {again}"
        )
    return card


def known_classes(files: ModelFiles) -> list[str]:
    """Names of the network's classes in order, from the card of these weights, else from the weights; none where neither
    says."""
    try:
        return [str(name) for name in read_card(files)["classes"]]
    except (DataError, KeyError):
        return trained_classes(files.weights)


def write_card(card: dict[str, Any], files: ModelFiles) -> Path:
    """Write the card and, as .md beside it, the same for people; return the former.

    Raises:
        OutputError: they cannot be written.
    """
    write_output(files.card, json.dumps(card, indent=1) + "\n")
    write_output(files.card.with_suffix(".md"), _markdown(card, files))
    return files.card


def recipe_of(weights: Path) -> str:
    """How the weights were trained, as their file says."""
    imported = weights.suffix != ".safetensors"
    return "not recorded (imported)" if imported else metadata(weights).get("recipe", "not recorded")


def _is_cifar10(card: dict[str, Any]) -> bool:
    return bool(card.get("data", {"source": CIFAR10})["source"] == CIFAR10)  # cards of before say nothing of their data


def _data(card: dict[str, Any]) -> str:
    """The sentence on the images that the network was trained, calibrated and evaluated on."""
    images = card["images"]
    if _is_cifar10(card):
        return (
            "CIFAR-10. Training images 0..42999 to train, 43000..46999 to calibrate (thresholds, tables), the first "
            f"{images['test']} images of the test batch to evaluate."
        )
    about = card["data"]
    return (
        f"{about['source']}, {about['train']} to train, {images['calibration']} to calibrate (thresholds, tables), "
        f"{images['test']} to evaluate; {about['order']}. SHA-256 of the images to train and to calibrate: `{about['sha256']}`."
    )


def _last_exit(card: dict[str, Any]) -> list[str]:
    rows = [
        f"| {rad} % | {each['exit']} | {each['relative_cost']:.2f} | {each['least_efcy']:.2f} | {each['thresholds'][rad]['accuracy']:.3f} | {each['thresholds'][rad]['efcy']:.3f} |"
        for rad, each in card["last_exit"].items()
    ]
    return [
        "Last exit (`bundle --last-exit --rad RAD`): frames that have not left leave there, under any attack. Accuracy and EFCY: "
        "of the calibration images with it.",
        "",
        "| RAD | last exit | a frame costs at most | EFCY at least | accuracy | EFCY |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _markdown(card: dict[str, Any], files: ModelFiles) -> str:
    rows = [
        f"| {'final' if number == len(card['relative_costs']) else number} | {cost:.4f} | {calibration:.3f} | {test:.3f} |"
        for number, (cost, calibration, test) in enumerate(
            zip(card["relative_costs"], card["accuracy_calibration"], card["accuracy_test"], strict=True), start=1
        )
    ]
    points = [
        f"| {rad} % | {point['threshold']:.2f} | {point['accuracy']:.3f} | {point['mean_cost']:.3f} | {point['efcy']:.3f} | {point['t3_er']:.3f} |"
        for rad, point in card["thresholds"].items()
    ]
    images = card["images"]
    return "\n".join(
        [
            f"# SDN {card['model']}",
            "",
            "A Shallow-Deep Network for 32 x 32 RGB images in [0, 1] without normalisation, float16 safetensors.",
            f"Weights: `{files.weights.name}`, SHA-256 `{card['weights_sha256']}`.",
            "",
            f"* **Data**: {_data(card)}",
            f"* **Recipe**: {recipe_of(files.weights)}.",
            "* **Classes**: " + ", ".join(card["classes"]) + ".",
            *([USE] if _is_cifar10(card) else []),
            "",
            "Thresholds for a relative accuracy drop (RAD), chosen and measured on the calibration images:",
            "",
            "| RAD | threshold | accuracy | mean relative cost | EFCY | T3-ER |",
            "|---|---|---|---|---|---|",
            *points,
            "",
            *_last_exit(card),
            f"Accuracy when every image leaves at one exit ({images['calibration']} calibration and {images['test']} test images):",
            "",
            "| exit | relative cost | calibration | test |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Made with `python -m export calibrate {files.option}`.",
            "",
        ]
    )
