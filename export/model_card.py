"""models/NAME.json (what the exporter reads: costs, thresholds, accuracies) and models/NAME.md (the same for people)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from device.errors import DataError
from device.exits import exit_histogram, first_confident
from export.calibration import ExitScores, exit_accuracies, rad_threshold, relative_costs, score
from export.datasets import Dataset
from export.last_exit import last_exit_card
from export.networks import SDN
from export.weights import file_sha256, weights_file

RADS = (5, 10)


def calibrate(model: str, network: SDN, data: Dataset, weights: Path | None = None) -> dict[str, Any]:
    """Cost, accuracy and thresholds of a network, from the calibration split; the test images only report."""
    weights = weights or weights_file(model)
    costs = relative_costs(network)
    scores = score(network, data.calibration.pixels)
    points = {rad: rad_threshold(scores, data.calibration.labels, costs, rad) for rad in RADS}
    test = score(network, data.test.pixels)
    return {
        "model": model,
        "weights_sha256": file_sha256(weights),
        "classes": list(data.classes),
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


def card_file(model: str, weights: Path | None = None) -> Path:
    return (weights or weights_file(model)).with_suffix(".json")


def read_card(model: str, weights: Path | None = None) -> dict[str, Any]:
    """The calibration that belongs to the weights.

    Raises:
        DataError: absent, or made for other weights.
    """
    file = card_file(model, weights)
    again = f"make it with: python -m export calibrate --model {model}"
    try:
        card: dict[str, Any] = json.loads(file.read_text())
        found = card["weights_sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"could not read the calibration {file} ({error}); {again}") from error
    expected = file_sha256(weights or weights_file(model))
    if found != expected:
        raise DataError(
            f"found a calibration for weights {found[:12]} in {file}; the weights are {expected[:12]}; {again}"
        )
    return card


def write_card(card: dict[str, Any], weights: Path | None = None) -> Path:
    """Write NAME.json and NAME.md beside the weights; return the former."""
    file = card_file(card["model"], weights)
    file.write_text(json.dumps(card, indent=1) + "\n")
    file.with_suffix(".md").write_text(_markdown(card, weights or weights_file(card["model"])))
    return file


def recipe_of(weights: Path) -> str:
    """How the weights were trained, as their file says."""
    if weights.suffix != ".safetensors":
        return "not recorded (imported)"
    with safe_open(weights, "pt") as file:
        return str((file.metadata() or {}).get("recipe", "not recorded"))


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


def _markdown(card: dict[str, Any], weights: Path) -> str:
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
            f"Weights: `{weights.name}`, SHA-256 `{card['weights_sha256']}`.",
            "",
            "* **Data**: CIFAR-10. Training images 0..42999 to train, 43000..46999 to calibrate (thresholds, tables), the first "
            f"{images['test']} images of the test batch to evaluate.",
            f"* **Recipe**: {recipe_of(weights)}.",
            "* **Classes**: " + ", ".join(card["classes"]) + ".",
            "* **Use**: research and demonstrations of early exits under attack. CIFAR-10 is no data for a product.",
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
            f"Made with `python -m export calibrate --model {card['model']}`.",
            "",
        ]
    )
