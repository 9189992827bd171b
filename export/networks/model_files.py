"""Where weights, card and table of one model lie.

The networks that come with this repository lie in models/ and tables/. No command writes there unless ``--out`` names a
file there: what is made of them, and networks that are trained here, go to build/models/NAME/ (weights.safetensors,
card.json, card.md, table.json), where later commands look first. Card and table of other weights lie beside them.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from device.errors import UsageError
from export.data.shipped import shipped_folder
from export.networks.weights import file_sha256, weights_file

TABLES = shipped_folder("tables")
MADE_HERE = Path("build/models")
"""Relative to the folder that a command is run in."""
TRAINED = "weights.safetensors"


@dataclass(frozen=True)
class ModelFiles:
    """The three files of one model.

    Args:
        model: vgg16, resnet56 or mobilenet.
        weights: .safetensors of ours, or a checkpoint of the public SDN code.
        card: JSON with costs, accuracies and thresholds; the same for people lies beside it as .md.
        table: JSON with Q_def and what was calibrated with it.
    """

    model: str
    weights: Path
    card: Path
    table: Path

    @cached_property
    def sha256(self) -> str:
        """Of the weights.

        Raises:
            DataError: they cannot be read.
        """
        return file_sha256(self.weights)

    @property
    def is_shipped(self) -> bool:
        return self.weights.resolve() == weights_file(self.model).resolve()

    @property
    def option(self) -> str:
        """What names this model on the command line."""
        made = made_here(self.model).weights
        default = made if made.is_file() else weights_file(self.model)
        own = "" if self.weights.resolve() == default.resolve() else f" --weights {shown(self.weights)}"
        return f"--model {self.model}{own}"

    def told(self) -> str:
        """One line for the console: what a command reads."""
        parts = [f"weights {shown(self.weights)}"]
        parts += [
            f"{name} {shown(file)}" for name, file in (("card", self.card), ("table", self.table)) if file.is_file()
        ]
        return "reads " + ", ".join(parts)


def shown(file: Path) -> str:
    """A path as short as it can be said."""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_absolute() and file.is_relative_to(here) else file)


def shipped(model: str) -> ModelFiles:
    """What comes with this repository."""
    weights = weights_file(model)
    return ModelFiles(model, weights, weights.with_suffix(".json"), TABLES / f"{model}.json")


def beside(model: str, weights: Path) -> ModelFiles:
    """Card and table in the folder of the weights; their names begin with that of the weights, unless that is TRAINED."""
    if weights.resolve() == weights_file(model).resolve():
        return shipped(model)
    if weights.name == TRAINED:
        return ModelFiles(model, weights, weights.with_name("card.json"), weights.with_name("table.json"))
    return ModelFiles(model, weights, weights.with_suffix(".json"), weights.with_suffix(".table.json"))


def made_here(model: str) -> ModelFiles:
    """The folder that commands write to by default."""
    return beside(model, MADE_HERE / model / TRAINED)


def find(model: str, weights: Path | None = None) -> ModelFiles:
    """What a command reads: ``weights``, else those trained here, else the shipped ones, each with their card and table.

    Of shipped weights a card or table that was made here comes first; one of other weights there is passed over.
    """
    made = made_here(model)
    if weights is None and made.weights.is_file():
        return made
    files = shipped(model) if weights is None else beside(model, weights)
    if not files.is_shipped:
        return files
    card, table = (own if _of(own) == files.sha256 else came for own, came in ((made.card, files.card), (made.table, files.table)))  # fmt: skip
    return ModelFiles(model, files.weights, card, table)


def destination(files: ModelFiles) -> ModelFiles:
    """Where what is made of a model goes by default: beside its weights, but of shipped ones to the folder made_here.

    Raises:
        UsageError: weights that were trained here lie there: their card and table would be lost.
    """
    if not files.is_shipped:
        return files
    made = made_here(files.model)
    if made.weights.is_file():
        raise UsageError(
            f"found weights that were trained here in {made.weights.parent}, where what is made of the shipped ones would "
            "go; expected a place of its own; name a file with --out"
        )
    return made


def _of(file: Path) -> str | None:
    """The SHA-256 of the weights that a card or table says it was made for; None where there is no such file."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return content.get("weights_sha256") if isinstance(content, dict) else None
