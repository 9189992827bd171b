"""model.json of a model folder: which network the folder holds, and what it was trained on.

A model folder has everything that belongs to one network: model.json, weights.safetensors, card.json, card.md and
table.json. ``train`` writes one, and ``--model`` takes its path in every command.
"""

import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from device.errors import DataError
from device.pictures.fit import FITS, FITS_TOLD, STRETCH
from device.system.files import read_bounded
from device.system.json_text import read_json
from export.calibration.json_fields import Fields
from export.data.images import Dataset
from export.data.output import write_output
from export.networks.find import network_names, network_spec
from export.networks.upstream import upstream_exits
from export.networks.user_code import INPUT_SIZE, UserCode, kept
from export.networks.weights import kept_exits, trained_classes, trained_size

FILE = "model.json"
FORMAT, FORMAT_VERSION = "defq-model", 1
MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Photographs:
    """Where the photographs of a network lie, so that later commands find them again.

    Args:
        folder: its absolute path.
        group: the regular expression over paths whose groups stay in one split (export/data/splits.py); empty where there was
            none.
    """

    folder: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What model.json says.

    Args:
        family: name of the network (export/networks), which knows how to build it.
        input_size: height and width of the images in pixels.
        fit: how photographs are brought to this size: one of FITS (device/pictures/fit.py).
        classes: names of the classes in the order of the logits; empty where weights do not name them.
        exits: numbers of the blocks, from 1, that keep an internal classifier; blocks without one are joined with the next.
        data_source: the data set, in words; empty, like the next ones, where it is not known.
        data_sha256: of its images to train and to calibrate.
        train, calibration, test: number of images in each split.
        photographs: where they lie; None for CIFAR-10 and for folders of early releases.
        code: where the network is defined, if it is one of the user's own; it lies beside model.json.
        ends: the number of the block, one of ``exits``, whose classifier is the final one, for a hardened twin
            (export/calibration/twin.py); later blocks are not in it. 0: the network has its own end.
    """

    family: str
    input_size: tuple[int, int]
    fit: str
    classes: tuple[str, ...]
    exits: tuple[int, ...]
    data_source: str = ""
    data_sha256: str = ""
    train: int = 0
    calibration: int = 0
    test: int = 0
    photographs: Photographs | None = None
    code: UserCode | None = None
    ends: int = 0

    @property
    def group(self) -> str:
        """The pattern whose groups of photographs stay in one split; empty for none."""
        return "" if self.photographs is None else self.photographs.group

    def told(self) -> str:
        """Network, input size and exits in words."""
        height, width = self.input_size
        name = self.family if self.code is None else f"{self.family} ({self.code.sha256[:12]})"
        ends = f", ending at exit {self.ends}" if self.ends else ""
        return f"{name} for {width} x {height} pixels with exits {', '.join(map(str, self.exits))}{ends}"

    def as_json(self) -> dict[str, Any]:
        height, width = self.input_size
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "family": self.family,
            **({} if self.code is None else {"network": _network(self.code)}),
            "input": {"height": height, "width": width, "fit": self.fit},
            "classes": list(self.classes),
            "exits": list(self.exits),
            **({"ends": self.ends} if self.ends else {}),
            "data": {
                "source": self.data_source,
                "sha256": self.data_sha256,
                **({} if self.photographs is None else asdict(self.photographs)),
            },
            "split": {"train": self.train, "calibration": self.calibration, "test": self.test},
        }


def described(description: ModelDescription, data: Dataset, photographs: Photographs | None = None) -> ModelDescription:
    """The description of a network that was trained on ``data``."""
    return replace(
        description,
        fit=data.fit,
        classes=tuple(data.classes),
        data_source=data.name,
        data_sha256=data.sha256(),
        train=len(data.train.labels),
        calibration=len(data.calibration.labels),
        test=len(data.test.labels),
        photographs=photographs,
    )


def derived(family: str, weights: Path, card: Path, code: UserCode | None = None) -> ModelDescription:
    """The description of weights without a model.json, such as those of CIFAR-10 that come with this repository: from what the
    network is made for, what the file of the weights says, and the card beside them.

    Args:
        code: of a network of the user's own.

    Raises:
        UsageError: there is no such network.
        DataError: weights of the public SDN code that cannot be read.
    """
    try:
        fields = Fields.of(read_json(read_bounded(str(card), MAX_FILE_BYTES)))
        classes = fields.texts("classes")
        data = fields.section("data") if "data" in fields else None
        source, sha256 = (data.text("source"), data.text("sha256")) if data else ("", "")
    except (OSError, ValueError):
        classes, source, sha256 = (), "", ""
    size = trained_size(weights) or INPUT_SIZE
    exits = kept_exits(weights) if weights.suffix == ".safetensors" else upstream_exits(weights)
    if code is None:
        spec = network_spec(family)
        every = range(1, spec.exits)
        exits = tuple(each for each in exits if each in every) or tuple(every)
        size = trained_size(weights) or spec.input_size
    classes = classes or tuple(trained_classes(weights))
    return ModelDescription(family, size, STRETCH, classes, exits, source, sha256, code=code)


def write_description(description: ModelDescription, file: Path) -> None:
    """Write model.json.

    Raises:
        OutputError: it cannot be written.
    """
    write_output(file, json.dumps(description.as_json(), indent=1) + "\n")


def read_description(file: Path) -> ModelDescription:
    """Read model.json.

    Raises:
        DataError: it is absent or damaged, of another version, or of a network that this release does not have.
    """
    try:
        fields = Fields.of(read_json(read_bounded(str(file), MAX_FILE_BYTES)))
    except (OSError, ValueError) as error:
        raise DataError(
            f"could not read {file} ({error}); expected a model folder, as defq train writes it, or the name of a "
            f"network: {', '.join(network_names())}"
        ) from error
    written = (fields.content.get("format"), fields.content.get("format_version"))
    if written != (FORMAT, FORMAT_VERSION):
        raise DataError(
            f"found format {written[0]!r} in version {written[1]!r} in {file}; expected {FORMAT!r} in version {FORMAT_VERSION}; "
            "use the release of defq that wrote it, or train the network anew"
        )
    try:
        family = fields.text("family")
        code = _code(fields, file)
        if family not in network_names() and code is None:
            raise DataError(
                f"found a model of the family {family!r} in {file}; expected one of {', '.join(network_names())}; "
                "add its module to export/networks, or name another folder"
            )
        return replace(_from_json(fields), code=code)
    except ValueError as error:
        raise DataError(
            f"could not read {file} ({error}); expected it as defq train writes it; train the network anew"
        ) from error


def _from_json(fields: Fields) -> ModelDescription:
    size, data, split = (fields.section(name) for name in ("input", "data", "split"))
    return ModelDescription(
        fields.text("family"),
        (size.whole("height", 1), size.whole("width", 1)),
        _fit(size),
        fields.texts("classes"),
        _exits(fields),
        data.text("source"),
        data.text("sha256"),
        split.whole("train"),
        split.whole("calibration"),
        split.whole("test"),
        _photographs(data),
        ends=_ends(fields),
    )


def _network(code: UserCode) -> dict[str, str]:
    return {"file": code.file.name, "function": code.function, "sha256": code.sha256, "origin": code.origin}


def _code(fields: Fields, file: Path) -> UserCode | None:
    if "network" not in fields:
        return None
    network = fields.section("network")
    name, function, sha256 = network.text("file"), network.text("function"), network.text("sha256")
    family = fields.text("family")
    if Path(name).name != name or not function.isidentifier() or not re.fullmatch(r"[\w.-]*\w", family):
        raise ValueError(
            f"found {family!r}, {name!r} and {function!r}; expected the names of a network, of a file beside it and of a function"
        )
    return kept(file.with_name(name), function, sha256, network.text("origin"))


def _photographs(data: Fields) -> Photographs | None:
    if "folder" not in data:
        return None
    return Photographs(data.text("folder"), data.text("group") if "group" in data else "")


def _fit(fields: Fields) -> str:
    fit = fields.text("fit")
    if fit not in FITS:
        raise ValueError(f"found {fit!r} under input.fit; expected {FITS_TOLD}")
    return fit


def _exits(fields: Fields) -> tuple[int, ...]:
    """All blocks where the file does not say, like those that were written before classifiers could be left out."""
    if "exits" not in fields and fields.text("family") in network_names():
        return tuple(range(1, network_spec(fields.text("family")).exits))
    found = fields.content.get("exits")
    numbers = found if isinstance(found, list) and all(type(each) is int for each in found) else []
    if not numbers or numbers != sorted(set(numbers)) or numbers[0] < 1:
        raise ValueError(f"found {found!r} under exits; expected the numbers of blocks, from 1, that rise")
    return tuple(numbers)


def _ends(fields: Fields) -> int:
    if "ends" not in fields:
        return 0
    ends = fields.whole("ends", 1)
    if ends not in _exits(fields)[1:]:
        raise ValueError(f"found {ends} under ends; expected one of exits, but not the first one")
    return ends


def family_in(folder: Path) -> str:
    """The name of the network in a model folder. Folders of early releases have no model.json; they are named after the
    network.

    Raises:
        DataError: neither model.json nor the name of the folder tells.
    """
    if not (folder / FILE).is_file() and folder.resolve().name in network_names():
        return folder.resolve().name
    return read_description(folder / FILE).family
