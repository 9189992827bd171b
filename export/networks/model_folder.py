"""model.json of a model folder: which network the folder holds, and what it was trained on.

A model folder has everything that belongs to one network: model.json, weights.safetensors, card.json, card.md and
table.json. ``train`` writes one, and ``--model`` takes its path in every command.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from device.errors import DataError
from device.pictures.fit import FITS, FITS_TOLD
from device.system.files import read_bounded
from device.system.json_text import read_json
from export.calibration.json_fields import Fields
from export.data.images import Dataset
from export.data.output import write_output
from export.networks.find import network_names

FILE = "model.json"
FORMAT, FORMAT_VERSION = "defq-model", 1
MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Photographs:
    """Where the photographs of a network lie, so that later commands find them again.

    Args:
        folder: its absolute path.
        group: the regular expression over paths whose groups stay in one split (export/data/splits.py); empty where there was none.
    """

    folder: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What model.json says.

    Args:
        family: name of the network (export/networks), which knows how to build it.
        input_size: height and width of the images in pixels.
        fit: how photographs and frames are brought to this size (device/pictures/fit.py).
        classes: names of the classes in the order of the logits.
        data_source: the data set, in words.
        data_sha256: of its images to train and to calibrate.
        train, calibration, test: number of images in each split.
        photographs: where they lie; None for CIFAR-10 and for folders of early releases.
    """

    family: str
    input_size: tuple[int, int]
    fit: str
    classes: tuple[str, ...]
    data_source: str
    data_sha256: str
    train: int
    calibration: int
    test: int
    photographs: Photographs | None = None

    def as_json(self) -> dict[str, Any]:
        height, width = self.input_size
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "family": self.family,
            "input": {"height": height, "width": width, "fit": self.fit},
            "classes": list(self.classes),
            "data": {
                "source": self.data_source,
                "sha256": self.data_sha256,
                **({} if self.photographs is None else asdict(self.photographs)),
            },
            "split": {"train": self.train, "calibration": self.calibration, "test": self.test},
        }


def described(
    family: str, input_size: tuple[int, int], data: Dataset, photographs: Photographs | None = None
) -> ModelDescription:
    """The description of a network that was trained on ``data``."""
    facts = data.facts()
    return ModelDescription(
        family,
        input_size,
        data.fit,
        tuple(data.classes),
        facts["source"],
        facts["sha256"],
        len(data.train.labels),
        len(data.calibration.labels),
        len(data.test.labels),
        photographs,
    )


def write_description(description: ModelDescription, folder: Path) -> None:
    """Write model.json.

    Raises:
        OutputError: it cannot be written.
    """
    write_output(folder / FILE, json.dumps(description.as_json(), indent=1) + "\n")


def read_description(folder: Path) -> ModelDescription:
    """Read model.json.

    Raises:
        DataError: it is absent or damaged, or of a network that this release does not have.
    """
    file = folder / FILE
    try:
        description = _from_json(Fields.of(read_json(read_bounded(str(file), MAX_FILE_BYTES))))
    except (OSError, ValueError) as error:
        raise DataError(
            f"could not read {file} ({error}); expected a model folder, as defq train writes it, or the name of a "
            f"network: {', '.join(network_names())}"
        ) from error
    if description.family not in network_names():
        raise DataError(
            f"found a model of the family {description.family!r} in {file}; expected one of {', '.join(network_names())}; "
            "add its module to export/networks, or name another folder"
        )
    return description


def _from_json(fields: Fields) -> ModelDescription:
    if fields.text("format") != FORMAT or fields.whole("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"it is of format {fields.content['format']} {fields.content['format_version']}; this release reads {FORMAT} {FORMAT_VERSION}"
        )
    size, data, split = (fields.section(name) for name in ("input", "data", "split"))
    return ModelDescription(
        fields.text("family"),
        (size.whole("height", 1), size.whole("width", 1)),
        _fit(size),
        fields.texts("classes"),
        data.text("source"),
        data.text("sha256"),
        split.whole("train"),
        split.whole("calibration"),
        split.whole("test"),
        photographs=Photographs(data.text("folder"), data.text("group") if "group" in data else "")
        if "folder" in data
        else None,
    )


def _fit(size: Fields) -> str:
    fit = size.text("fit")
    if fit not in FITS:
        raise ValueError(f"found {fit!r} under input.fit; expected {FITS_TOLD}")
    return fit


def family_of(folder: Path) -> str:
    """The name of the network in a model folder. Folders of early releases have no model.json; they are named after the
    network.

    Raises:
        DataError: neither model.json nor the name of the folder tells.
    """
    if not (folder / FILE).is_file() and folder.resolve().name in network_names():
        return folder.resolve().name
    return read_description(folder).family
