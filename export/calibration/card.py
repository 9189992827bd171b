"""The model card as JSON: what was measured of a network with its weights on calibration images and on test images.

A card belongs to one set of weights, whose SHA-256 it names. export/calibration/calibrate.py makes it, and
export/calibration/card_page.py writes the same as a page for people.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from device.errors import DataError
from device.system.files import read_bounded
from device.system.json_text import read_json
from export.calibration.cost import OperatingPoint
from export.calibration.json_fields import Fields
from export.calibration.last_exit import LastExit
from export.data.images import DataFacts
from export.data.output import write_output
from export.networks.model_files import ModelFiles
from export.networks.weights import trained_classes

MAX_FILE_BYTES = 16 << 20
HIGHEST_COST = 1 + 1e-6


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """Number of images that a card was measured on.

    Args:
        pasted: how many of the calibration images are others of them once more, before another background.
    """

    calibration: int
    test: int
    pasted: int = 0


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What was measured of a network. Only the first three are needed to export a bundle.

    Args:
        classes: names of the classes in the order of the logits.
        relative_costs: of every exit, ascending; the last is 1.0 for a whole network.
        thresholds: for each RAD in percent the threshold and what it gives on the calibration images.
        model: name of the network.
        weights_sha256: of the file of the weights.
        last_exits: for each RAD in percent the exit at which a shortened network ends.
        accuracy_calibration, accuracy_test: accuracy of every exit when all images leave there.
        images: number of images behind these figures.
        shares: for each RAD in percent the share of calibration images that leave at each exit.
        data: the data set; cards of early releases, all of CIFAR-10, do not have it.
    """

    classes: tuple[str, ...]
    relative_costs: tuple[float, ...]
    thresholds: Mapping[int, OperatingPoint]
    model: str = ""
    weights_sha256: str | None = None
    last_exits: Mapping[int, LastExit] = field(default_factory=dict)
    accuracy_calibration: tuple[float, ...] = ()
    accuracy_test: tuple[float, ...] = ()
    images: ImageCounts | None = None
    shares: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    data: DataFacts | None = None

    def as_json(self) -> dict[str, Any]:
        """The content of card.json; what is empty is left out."""
        data, images = self.data, self.images
        content: dict[str, Any] = {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "classes": list(self.classes),
            "data": data and asdict(data),
            "relative_costs": list(self.relative_costs),
            "thresholds": {str(rad): point._asdict() for rad, point in self.thresholds.items()},
            "last_exit": {str(rad): each.as_json() for rad, each in self.last_exits.items()},
            "accuracy_calibration": list(self.accuracy_calibration),
            "accuracy_test": list(self.accuracy_test),
            "images": images and {name: count for name, count in asdict(images).items() if count or name != "pasted"},
            "shares": {str(rad): list(each) for rad, each in self.shares.items()},
        }
        return {name: value for name, value in content.items() if value}


def card_from_json(value: object) -> ModelCard:
    """The model card that a JSON object holds.

    Raises:
        ValueError: a value is absent or not what it has to be; the message names it.
    """
    fields = Fields.of(value)
    classes = fields.texts("classes")
    costs = fields.content.get("relative_costs")
    exits = len(costs) if isinstance(costs, list) else 0
    relative_costs = fields.numbers("relative_costs", exits, 0, HIGHEST_COST)
    if exits < 2 or len(classes) < 2 or list(relative_costs) != sorted(relative_costs):
        raise ValueError(f"found {len(classes)} classes and relative costs {relative_costs}; expected two or more of each, and costs that rise")  # fmt: skip
    thresholds = {rad: _point(each) for rad, each in fields.by_rad("thresholds").items()}
    if not thresholds:
        raise ValueError("found no thresholds; expected one for each RAD")
    accuracies = {
        name: fields.numbers(name, exits, 0, 1) if name in fields else ()
        for name in ("accuracy_calibration", "accuracy_test")
    }
    shares = fields.section("shares") if "shares" in fields else Fields({})
    return ModelCard(
        classes, relative_costs, thresholds,
        model=fields.text("model") if "model" in fields else "",
        weights_sha256=fields.text("weights_sha256") if "weights_sha256" in fields else None,
        last_exits=_last_exits(fields, exits),
        images=_images(fields.section("images")) if "images" in fields else None,
        shares={rad: shares.numbers(key, exits, 0, 1) for key, rad in shares.rads().items()},
        data=_data(fields.section("data")) if "data" in fields else None,
        **accuracies,
    )  # fmt: skip


def _point(fields: Fields) -> OperatingPoint:
    return OperatingPoint(
        fields.number("threshold", 0, 1),
        fields.number("accuracy", 0, 1),
        fields.number("mean_cost", 0, HIGHEST_COST),
        fields.number("efcy", 0, 1),
        fields.number("t3_er", 0, 1),
    )


def _last_exits(fields: Fields, exits: int) -> dict[int, LastExit]:
    """Empty for cards of early releases, which had one last exit for all RADs."""
    if "last_exit" not in fields:
        return {}
    section = fields.section("last_exit")
    return {int(key): _last_exit(section.section(key), exits) for key in section if re.fullmatch("[0-9]{1,2}", key)}


def _last_exit(fields: Fields, exits: int) -> LastExit:
    return LastExit(
        fields.whole("exit", 2, exits),
        fields.number("relative_cost", 0, HIGHEST_COST),
        fields.number("least_efcy", 0, 1),
        {rad: _point(each) for rad, each in fields.by_rad("thresholds").items()},
    )


def _images(fields: Fields) -> ImageCounts:
    pasted = fields.whole("pasted") if "pasted" in fields else 0
    return ImageCounts(fields.whole("calibration"), fields.whole("test"), pasted)


def _data(fields: Fields) -> DataFacts:
    return DataFacts(fields.text("source"), fields.text("sha256"), fields.whole("train"), fields.text("order"))


def read_card(files: ModelFiles) -> ModelCard:
    """The model card that belongs to the weights.

    Raises:
        DataError: it is absent or damaged, or was made for other weights.
    """
    again = f"make it with: defq calibrate {files.option}"
    try:
        card = card_from_json(read_json(read_bounded(str(files.card), MAX_FILE_BYTES)))
    except (OSError, ValueError) as error:
        raise DataError(f"could not read the calibration {files.card} ({error}); {again}") from error
    if card.weights_sha256 != files.sha256:
        raise DataError(
            f"found a calibration for weights {str(card.weights_sha256)[:12]} in {files.card}; the weights {files.weights} "
            f"are {files.sha256[:12]}; {again}"
        )
    return card


def known_classes(files: ModelFiles) -> tuple[str, ...]:
    """Names of the network's classes in order: from the card of these weights, else from the file of the weights. Empty
    where neither names them."""
    try:
        return read_card(files).classes
    except DataError:
        return tuple(trained_classes(files.weights))


def write_card(card: ModelCard, file: Path) -> None:
    """Write card.json.

    Raises:
        OutputError: the file cannot be written.
    """
    write_output(file, json.dumps(card.as_json(), indent=1) + "\n")
