"""Networks that keep some of their internal classifiers, and the names of their tensors in files."""

from collections.abc import Sequence

from torch import Tensor, nn

from device.errors import UsageError
from export.networks.sdn import SDN


class Joined(nn.Sequential):
    """Blocks of a network in a row, without a classifier between them."""


class Ending(nn.Sequential):
    """The end of a network that ends at an internal classifier: the last block and its classifier.

    Args:
        number: of the block in the whole network, from 1.
    """

    def __init__(self, block: nn.Module, classifier: nn.Module, number: int) -> None:
        super().__init__(block, classifier)
        self.number = number


def ending_at(network: SDN, last: int) -> SDN:
    """``network`` up to exit ``last``, from 1, whose classifier becomes the final one. The modules are shared with
    ``network``."""
    end = Ending(network.blocks[last - 1], network.ics[last - 1], network.exit_numbers[last - 1])
    blocks, ics = list(network.blocks)[: last - 1], list(network.ics)[: last - 1]
    return SDN(network.stem, blocks, ics, end, network.input_shape, network.exit_numbers[: last - 1]).eval()


def with_exits(network: SDN, kept: Sequence[int]) -> SDN:
    """The network with some of its internal classifiers. Blocks without one become part of the next block that has one, and
    blocks behind the last classifier become part of ``end``.

    Args:
        network: its modules are shared with the result. It may lack classifiers already.
        kept: numbers of the blocks of the whole network, from 1, whose classifiers stay.

    Raises:
        UsageError: no number, a number twice, or one of a block without a classifier.
    """
    numbers = tuple(sorted(kept))
    if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(network.exit_numbers):
        raise UsageError(
            f"found exits {', '.join(map(str, kept)) or 'none'}; expected one or more of {', '.join(map(str, network.exit_numbers))}, "
            "the blocks of this network that have a classifier, each once"
        )
    blocks: list[nn.Module] = []
    ics: list[nn.Module] = []
    waiting: list[nn.Module] = []
    for number, block, classifier in zip(network.exit_numbers, network.blocks, network.ics, strict=True):
        waiting += _parts(block)
        if number in numbers:
            blocks.append(_joined(waiting))
            ics.append(classifier)
            waiting = []
    end = _joined([*waiting, *_parts(network.end)])
    made = SDN(network.stem, blocks, ics, end, network.input_shape, numbers)
    return made.train(network.training)


def tensors_of(network: SDN) -> dict[str, Tensor]:
    """The tensors of a network by the names that they have in files. These are the names of the whole network, whichever
    classifiers are kept: block 8 is always ``blocks.7``, and its classifier ``ics.7``."""
    names = file_names(network)
    return {names[name]: tensor for name, tensor in network.state_dict().items()}


def file_names(network: SDN) -> dict[str, str]:
    """The name in files of every tensor of a network."""
    prefixes: dict[str, str] = {}
    block = 0
    for index, (each, number) in enumerate(zip(network.blocks, network.exit_numbers, strict=True)):
        prefixes[f"ics.{index}."] = f"ics.{number - 1}."
        for part in _prefixes(f"blocks.{index}.", each):
            prefixes[part] = f"blocks.{block}."
            block += 1
    rest, classifier, name = _end_parts(network.end)
    for offset, part in enumerate(rest):
        prefixes[part] = f"blocks.{block + offset}."
    prefixes[classifier] = name
    names = {}
    for name in network.state_dict():
        prefix = next((each for each in prefixes if name.startswith(each)), "")
        names[name] = prefixes.get(prefix, "") + name.removeprefix(prefix)
    return names


def classifier_numbers(network: SDN) -> tuple[int, ...]:
    """The numbers of the blocks, from 1, whose classifiers the network has, the one that it ends at included."""
    ends = (network.end.number,) if isinstance(network.end, Ending) else ()
    return (*network.exit_numbers, *ends)


def kept_in(names: Sequence[str]) -> tuple[int, ...]:
    """The numbers of the blocks, from 1, whose classifiers are among tensors with such names in a file."""
    return tuple(sorted({int(name.split(".")[1]) + 1 for name in names if name.startswith("ics.")}))


def _parts(module: nn.Module) -> list[nn.Module]:
    return list(module) if isinstance(module, Joined) else [module]


def _joined(modules: list[nn.Module]) -> nn.Module:
    return Joined(*modules) if len(modules) > 1 else modules[0]


def _end_parts(end: nn.Module) -> tuple[list[str], str, str]:
    """The names of the blocks in ``end``, that of the final classifier, and the name of the classifier in files."""
    if isinstance(end, Ending):
        return _prefixes("end.0.", end[0]), "end.1.", f"ics.{end.number - 1}."
    *blocks, classifier = _prefixes("end.", end)
    return blocks, classifier, "end."


def _prefixes(name: str, module: nn.Module) -> list[str]:
    return [f"{name}{index}." for index in range(len(module))] if isinstance(module, Joined) else [name]
