"""A network from images to its file: trained, and on photographs with calibrated exits, as few as pay."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from export.calibration.calibrated_exits import with_calibrated_exits
from export.data.backgrounds import Backgrounds, with_others
from export.data.images import Dataset
from export.networks.model_files import ModelFiles
from export.networks.model_folder import ModelDescription, Photographs, described, write_description
from export.networks.pretrained import installed
from export.networks.sdn import SDN
from export.networks.spec import Recipe
from export.networks.training import train
from export.networks.user_code import keep
from export.networks.weights import save_network


class TrainedNetwork(NamedTuple):
    """A network that was just trained.

    network: in evaluation mode. description: with the exits that were kept. recipe: how it was trained, in words.
    """

    network: SDN
    description: ModelDescription
    recipe: str


def trained_network(
    description: ModelDescription,
    data: Dataset,
    recipe: Recipe,
    checkpoint: Path,
    start: ModelFiles | None = None,
    random: bool = False,
    choose: bool = True,
    backgrounds: Backgrounds | None = None,
) -> TrainedNetwork:
    """Train a network. The other arguments are those of ``training.train``.

    Args:
        choose: whether exits may be left out, for photographs.
        backgrounds: those that a share of the photographs is put in front of. Temperatures and exits are then chosen on the
            calibration photographs as they were taken and before other backgrounds.

    Raises:
        DataError, OutputError: as ``training.train``.
    """
    package = None if random or start else installed(description.family)
    seen = with_others(data.calibration, backgrounds.calibration) if backgrounds else data.calibration
    network = train(description, data, recipe, checkpoint, start, random, backgrounds, seen)
    begun = f"weights {start.sha256[:12]}" if start else package.told() if package else "random weights"
    told = ", ".join([f"from {begun}", *(f"{name} {value}" for name, value in asdict(recipe).items())])
    if recipe.photographs:
        network, temperatures = with_calibrated_exits(network, seen, choose)
        description = replace(description, exits=network.exit_numbers)
        told += f", temperatures {' '.join(f'{each:.2f}' for each in temperatures)}"
    return TrainedNetwork(network, description, told)


def write_trained(trained: TrainedNetwork, files: ModelFiles, data: Dataset, photographs: Photographs | None) -> None:
    """Write its weights and model.json, and the code of a network of the user's own.

    Args:
        data: that it was trained on.
        photographs: where they lie; None for other data.

    Raises:
        OutputError: a file cannot be written.
    """
    save_network(trained.network, files.weights, trained.recipe, data.sha256(), data.classes)
    description = trained.description
    if description.code:
        description = replace(description, code=keep(description.code, files.code_file))
    write_description(described(description, data, photographs), files.described_in)
