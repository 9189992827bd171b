"""Where the weights, the card and the table of one model are.

``--model`` names a model that comes with this repository, in models/ and tables/, a network, or a model folder
(export/networks/model_folder.py). No command writes into models/ or tables/ unless ``--out`` names a file there. What is
made of the shipped networks, and networks that are trained here, go to the folder build/models/NAME, where later commands
look first. ``--weights`` names weights in another place; their card and table are beside them.
"""

import json
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from device.errors import DataError, UsageError
from export.attacks.crafting import attack_cache
from export.data import shipped as package
from export.networks.find import model_names, network_names
from export.networks.model_folder import FILE as DESCRIPTION
from export.networks.model_folder import ModelDescription, derived, family_in, read_description
from export.networks.user_code import UserCode
from export.networks.weights import file_sha256, weights_file

MADE_HERE = Path("build/models")
"""Relative to the folder that a command is run in."""
TRAINED = "weights.safetensors"
CODE = "network.py"


@dataclass(frozen=True)
class ModelFiles:
    """The three files of one model.

    Args:
        model: name of the model, such as vgg16 or signs; of a model folder, the name of its network.
        weights: .safetensors of ours, or a checkpoint of the public SDN code.
        card: JSON with costs, accuracies and thresholds. The same as a page for people is beside it as .md.
        table: JSON with Q_def and what was calibrated with it.
        code: of a network of the user's own, for weights without a model.json, which names it otherwise.
    """

    model: str
    weights: Path
    card: Path
    table: Path
    code: UserCode | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file of the weights.

        Raises:
            DataError: the file cannot be read.
        """
        return file_sha256(self.weights)

    @property
    def folder(self) -> Path | None:
        """The model folder that the files lie in; None for weights in another place."""
        return self.weights.parent if self.weights.name == TRAINED and self.described_in.is_file() else None

    @property
    def code_file(self) -> Path:
        """Where the code of a network of the user's own is kept, if it is one."""
        return self.weights.with_name(CODE) if self.weights.name == TRAINED else self.weights.with_suffix(f".{CODE}")

    @property
    def described_in(self) -> Path:
        """Where model.json is, if there is one."""
        return (
            self.weights.with_name(DESCRIPTION)
            if self.weights.name == TRAINED
            else self.weights.with_suffix(f".{DESCRIPTION}")
        )

    @cached_property
    def description(self) -> ModelDescription:
        """Network, input size, fit, classes and exits of the model.

        Raises:
            DataError: the file model.json is damaged, or of another network than this model.
        """
        if not self.described_in.is_file():
            family = family_of(self.model) if self.code is None else self.code.name
            return derived(family, self.weights, self.card, self.code)
        found = read_description(self.described_in)
        if self.model in network_names() and found.family != self.model:
            raise DataError(
                f"found the network {found.family} in {self.described_in}; expected {self.model}; choose the --model that the "
                "weights are of"
            )
        return found

    @property
    def attacks(self) -> Path:
        """The folder that keeps attacked images: in the model folder where there is one, else one for all models."""
        return attack_cache(self.folder)

    @property
    def is_shipped(self) -> bool:
        """Whether the weights come with this repository."""
        return self.weights.resolve() == weights_file(self.model).resolve()

    @property
    def option(self) -> str:
        """What names this model on the command line."""
        made = made_here(self.model).weights
        default = made if made.is_file() else weights_file(self.model)
        if self.model in model_names() and self.weights.resolve() == default.resolve():
            return f"--model {self.model}"
        if self.folder is not None:
            return f"--model {shlex.quote(shown(self.folder))}"
        network = f"--model {self.model}" if self.code is None else f"--network {shlex.quote(self.code.reference)}"
        return f"{network} --weights {shlex.quote(shown(self.weights))}"

    def told(self) -> str:
        """One line for the console: which files a command reads."""
        parts = [f"weights {shown(self.weights)}"]
        parts += [
            f"{name} {shown(file)}" for name, file in (("card", self.card), ("table", self.table)) if file.is_file()
        ]
        return "reads " + ", ".join(parts)


def shown(file: Path) -> str:
    """A path for a message: relative to the working directory where it lies in it."""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_absolute() and file.is_relative_to(here) else file)


def shipped(model: str) -> ModelFiles:
    """The files of a model that comes with this repository."""
    weights = weights_file(model)
    return ModelFiles(model, weights, weights.with_suffix(".json"), package.TABLES / f"{model}.json")


def beside(model: str, weights: Path, code: UserCode | None = None) -> ModelFiles:
    """The files of any weights: card and table are in the same folder. Their names begin with the name of the weights, unless
    that is TRAINED, as in a model folder."""
    if weights.resolve() == weights_file(model).resolve():
        return shipped(model)
    if weights.name == TRAINED:
        return ModelFiles(model, weights, weights.with_name("card.json"), weights.with_name("table.json"), code)
    return ModelFiles(model, weights, weights.with_suffix(".json"), weights.with_suffix(".table.json"), code)


def made_here(model: str) -> ModelFiles:
    """The model folder that commands write to by default."""
    return beside(model, MADE_HERE / model / TRAINED)


def family_of(model: str) -> str:
    """The network of a model, by its name.

    Raises:
        DataError: its description cannot be read.
    """
    return model if model in network_names() else read_description(shipped(model).described_in).family


def in_folder(folder: Path) -> ModelFiles:
    """The files of a model folder.

    Raises:
        UsageError: there is no such folder.
        DataError: it is no model folder.
    """
    if not folder.is_dir():
        raise UsageError(
            f"found --model {str(folder)!r}; expected one of {', '.join(model_names())}, or the folder of a trained network"
        )
    return beside(family_in(folder), folder / TRAINED)


def find(model: str, weights: Path | None = None) -> ModelFiles:
    """The files that a command reads.

    Args:
        model: the name of a network or a model folder, as ``--model`` takes it.
        weights: the weights of ``--weights``. Without them a name stands for the weights that were trained here, and
            where there are none for the shipped weights. With shipped weights a card or a table that was made here comes
            before the shipped one, unless it belongs to other weights.

    Raises:
        UsageError: ``model`` is neither a name nor a folder, or the name of a network without weights; or it is a folder,
            which has its own weights, and ``weights`` are given too.
        DataError: ``model`` is a folder, but no model folder.
    """
    if model not in model_names():
        if weights is not None:
            raise UsageError(f"found --weights beside the model folder {model}, which has weights of its own; expected one of the two")  # fmt: skip
        return in_folder(Path(model))
    made = made_here(model)
    if weights is None and made.weights.is_file():
        return made
    files = shipped(model) if weights is None else beside(model, weights)
    if weights is None and not files.weights.is_file():
        raise UsageError(f"found no weights of {model}; expected those of a training, because none come with it; train it with: defq train --model {model}")  # fmt: skip
    if not files.is_shipped:
        return files
    card, table = (own if _of(own) == files.sha256 else came for own, came in ((made.card, files.card), (made.table, files.table)))  # fmt: skip
    return ModelFiles(model, files.weights, card, table)


def find_own(code: UserCode, weights: Path | None = None) -> ModelFiles:
    """The files that a command reads of a network of the user's own: the model folder that the file lies in, the given weights, or
    the model folder that training with this file made here.

    Raises:
        UsageError: there are no weights yet.
        DataError: the model folder was trained with another content of the file.
    """
    if weights is not None:
        return beside(code.name, weights, code)
    lies_in = code.file.parent
    files = in_folder(lies_in) if (lies_in / DESCRIPTION).is_file() else made_here(code.name)
    if not files.weights.is_file():
        raise UsageError(f"found no weights of {code.reference}; expected those of a training; train it with: defq train --network {code.reference}")  # fmt: skip
    trained = files.description.code
    if trained is None or trained.sha256 != code.sha256:
        raise DataError(
            f"found {shown(files.weights.parent)}, which was not trained with {code.file} as it is now; expected a model of this "
            f"file; train it anew, or name the folder, which has a copy of what it was trained with: --model {shown(files.weights.parent)}"
        )
    return files


def destination(files: ModelFiles) -> ModelFiles:
    """The files that a command writes by default: beside the weights, but for shipped weights in the folder of ``made_here``.

    Raises:
        UsageError: this folder holds weights that were trained here, whose card and table would be lost.
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
    """SHA-256 of the weights that a card or a table was made for; None where there is no such file, or it does not say."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return content.get("weights_sha256") if isinstance(content, dict) else None
