"""Builds the network of a model and fills it with its weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from device.errors import DataError, UsageError
from export.data.classes import named
from export.networks.exits import classifier_numbers, ending_at, file_names, kept_in, with_exits
from export.networks.model_files import ModelFiles
from export.networks.model_folder import ModelDescription
from export.networks.sdn import SDN
from export.networks.upstream import load_upstream
from export.networks.user_code import UserCode, spec_of
from export.networks.weights import trained_size

SHOWN = 3  # names in a message


def load_network(files: ModelFiles) -> SDN:
    """Build the network of a model and load its weights as float32; in evaluation mode. It has the input size and the exits that
    the description of the model names (export/networks/model_folder.py).

    Args:
        files: weights whose name does not end in .safetensors are read as a checkpoint of the public SDN code
            (networks/upstream.py).

    Raises:
        DataError: weights or description are absent or damaged, or do not fit each other.
    """
    description = files.description
    if files.weights.suffix != ".safetensors":
        return load_upstream(description.family, files.weights)
    tensors = read_tensors(files.weights, description.family)
    _check_agreement(tensors, files)
    try:
        network = build_network(description, _classes(tensors))
    except UsageError as error:  # nobody asked for this size or these exits: the files say them
        raise DataError(
            f"found weights in {files.weights} that {description.family} cannot take ({error}); expected those of this network; "
            "choose the --model that the file is of"
        ) from error
    fill(network, tensors, files.weights, description.family)
    return network.eval()


def planned(
    family: str,
    input_size: tuple[int, int] | None,
    fit: str,
    exits: Sequence[int] = (),
    code: UserCode | None = None,
) -> ModelDescription:
    """The description of a network that is to be trained.

    Args:
        input_size: height and width of the images; None: what the network is made for.
        exits: numbers of the blocks, from 1, that keep an internal classifier; none: all.
        code: of a network of the user's own.

    Raises:
        UsageError: the network cannot take this size, or does not have these exits.
    """
    spec = spec_of(family, code)
    whole = spec.build(2, input_size or spec.input_size)
    kept = with_exits(whole, exits or whole.exit_numbers)
    return ModelDescription(family, whole.input_shape[1:], fit, (), kept.exit_numbers, code=code)


def build_network(description: ModelDescription, classes: int) -> SDN:
    """The network of a description with random weights, at its input size and with its exits.

    Raises:
        UsageError: the network cannot take this size, or does not have these exits.
    """
    spec = spec_of(description.family, description.code)
    network = with_exits(spec.build(classes, description.input_size), description.exits)
    if not description.ends:
        return network
    if description.ends not in description.exits[1:]:
        raise UsageError(
            f"found a network that ends at exit {description.ends}; expected one of {', '.join(map(str, description.exits[1:]))}"
        )
    return ending_at(network, description.exits.index(description.ends) + 1)


def read_tensors(file: Path, family: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file as float32.

    Args:
        family: the network that they are for.

    Raises:
        DataError: the file is absent or damaged, or holds no final classifier.
    """
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(file).items()}
        if not _classes(tensors):
            raise ValueError("no final classifier in it")
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(
            f"could not load {file} into {family} ({error}); expected float16 safetensors of this network; train them with: "
            f"defq train --model {family}"
        ) from error
    return tensors


def fill(network: SDN, tensors: Mapping[str, Tensor], file: Path, family: str) -> None:
    """Put the tensors of a file into a network. Those of classifiers that the network has not kept are left out.

    Args:
        tensors: by the names that they have in files (export/networks/exits.py).

    Raises:
        DataError: a tensor is missing, there is an unknown one, or one has another shape.
    """
    names = file_names(network)
    shapes = {
        names[name]: tensor.shape
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    numbers = set(classifier_numbers(network))
    given = {name: tensor for name, tensor in tensors.items() if not set(kept_in([name])) - numbers}
    wrong = {
        "missing": [name for name in shapes if name not in given],
        "unexpected": [name for name in given if name not in names.values()],
        "of another shape": [name for name in shapes if name in given and given[name].shape != shapes[name]],
    }
    if any(wrong.values()):
        height, width = network.input_shape[1:]
        listed = "; ".join(f"{what}: {', '.join(each[:SHOWN])}" for what, each in wrong.items() if each)
        raise DataError(
            f"found weights of another network in {file} ({listed}); expected those of {family} for images of {width} x {height} "
            "pixels; choose the --model that the file is of"
        )
    network.load_state_dict({own: given[name] for own, name in names.items() if name in given}, strict=False)


def _check_agreement(tensors: Mapping[str, Tensor], files: ModelFiles) -> None:
    """Compare what the file of the weights says of itself with the description.

    Raises:
        DataError: they differ.
    """
    description, size, classes = files.description, trained_size(files.weights), _classes(tensors)
    height, width = description.input_size
    if size and size != description.input_size:
        found, expected = f"images of {size[1]} x {size[0]} pixels", f"{width} x {height}"
    elif description.classes and classes != len(description.classes):
        found, expected = (
            f"{classes} classes",
            f"{len(description.classes)} ({named(description.classes)})",
        )
    else:
        return
    raise DataError(
        f"found weights for {found} in {files.weights}; expected {expected}, as {files.described_in} says; take both files of one "
        "training"
    )


def _classes(tensors: Mapping[str, Tensor]) -> int:
    """The number of classes that weights were trained for, by their last linear layer; 0 where there is none. The last layer of a
    network that ends at an internal classifier is the one of this classifier."""
    ends = [name for name in tensors if name.startswith("end.") and name.endswith(".weight")]
    numbers = kept_in(list(tensors))
    if not ends and numbers:
        ends = [name for name in tensors if name.startswith(f"ics.{numbers[-1] - 1}.") and name.endswith(".weight")]
    return len(tensors[max(ends)]) if ends else 0
