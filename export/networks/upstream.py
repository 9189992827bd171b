"""Reads the checkpoints of the two public code bases of Shallow-Deep Networks.

Source of the key names and of the facts below: https://github.com/yigitcankaya/Shallow-Deep-Networks (Kaya et al., 2019)
and https://github.com/Sanghyun-Hong/DeepSloth (Hong et al., 2021). Both save ``model.state_dict()`` with ``torch.save``
in a file named ``last`` (trained) or ``untrained``. docs/importing.md has the table of names.

Their blocks, classifiers and end layers compute the same as ours. Two things differ: the first code base has classifiers
after six of the blocks only, and it trained on normalised images: (image - mean) / standard deviation.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from device.errors import DataError
from export.networks.exits import with_exits
from export.networks.find import network_spec
from export.networks.sdn import SDN

# The channel means and standard deviations that the first code base trains with: ImageNet's for CIFAR-10, and
# CIFAR-100's own.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR100 = ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276))


class Normalise(nn.Module):
    """Normalises images in [0, 1], channel by channel: (images - mean) / deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).reshape(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.deviation


def is_upstream(state: Mapping[str, Any]) -> bool:
    """Whether a state dict has the names of one of the two code bases, for any network, with or without classifiers."""
    names = [str(name).removeprefix("module.") for name in state]
    return any(re.match(r"layers\.0\.layers\.", name) for name in names) and any(
        name.startswith("end_layers.") for name in names
    )


def load_upstream(model: str, file: Path, normalised: bool | None = None) -> SDN:
    """Build the SDN of a checkpoint: float32, in evaluation mode, with the exits that the checkpoint has.

    Blocks without a classifier become part of the next block; blocks behind the last classifier become part of ``end``.

    Args:
        model: the network that the checkpoint is of, at the input size of its NetworkSpec.
        normalised: whether the network was trained on normalised images; its ``stem`` then normalises. The file does
            not say. None: yes if some block has no classifier (first code base), no if all have one (DeepSloth).

    Raises:
        DataError: the file is absent, holds more than tensors, or has names or shapes of another network.
    """
    state = _read(file)
    # the last linear layer tells how many classes the network was trained for
    last = max((name for name in state if name.startswith("end_layers.") and name.endswith(".weight")), default="")
    classes = state[last].shape[:1].numel() if last else 1  # without it _fill refuses the file
    placed = _placed(state)
    if not placed:
        raise DataError(
            f"found a network without internal classifiers in {file}; expected those of an SDN (layers.N.output.*); "
            "import the file that SDN training wrote, not the plain CNN it began from"
        )
    network = network_spec(model).network(classes)
    every = len(network.blocks)
    _fill(network, placed, state, f"found weights of another network in {file}", model)

    network = with_exits(network, [index + 1 for index in placed])
    if len(placed) < every if normalised is None else normalised:
        network.stem = nn.Sequential(Normalise(*(CIFAR100 if classes == 100 else IMAGENET)), network.stem)
    return network.eval()


def upstream_exits(file: Path) -> tuple[int, ...]:
    """The numbers of the blocks, from 1, that have a classifier in a checkpoint.

    Raises:
        DataError: the file is absent, or no such checkpoint.
    """
    return tuple(sorted(index + 1 for index in _placed(_read(file))))


def _placed(state: Mapping[str, Any]) -> set[int]:
    """The numbers of the blocks, from 0, that have a classifier."""
    return {int(found[1]) for name in state if (found := re.match(r"layers\.(\d+)\.output\.", name))}


def upstream_name(name: str) -> str:
    """Their name for one of our tensors: ``blocks.3.c.0.weight`` -> ``layers.3.layers.0.0.weight``."""
    part, _, rest = name.partition(".")
    if part in ("stem", "end"):
        return {"stem": "init_conv.", "end": "end_layers."}[part] + rest
    index, _, rest = rest.partition(".")
    if part == "ics":
        return f"layers.{index}.output." + re.sub(r"^fc\.", "linear.", rest)
    return f"layers.{index}.layers." + re.sub(r"^(c|sc)\.", lambda found: {"c": "0.", "sc": "1."}[found[1]], rest)


def _read(file: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint, or the one under ``state_dict`` or ``model`` in it, without ``module.``."""
    expected = "expected a state dict of an SDN, written with torch.save(model.state_dict(), FILE)"
    try:
        if file.stat().st_size < 1000 and b"git-lfs" in file.read_bytes():
            raise DataError(f"found a Git LFS pointer in {file}, not the weights; {expected}; fetch it: git lfs pull")
        state = torch.load(file, weights_only=True, map_location="cpu")
    except OSError as error:
        raise DataError(f"could not read {file} ({error.strerror}); {expected}; check the path") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"found something other than tensors, or a damaged file, in {file}; {expected}; if you trust it, load it with "
            "the code that wrote it and save the state dict alone"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if isinstance(state, dict):
        state = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
    if not isinstance(state, dict) or not is_upstream(state) or not all(map(torch.is_tensor, state.values())):
        names = sorted(state)[:3] if isinstance(state, dict) else type(state).__name__
        raise DataError(f"found {names} in {file}; {expected} (layers.N.layers.*, end_layers.*); choose another file")
    return state


def _fill(network: SDN, placed: set[int], state: dict[str, Tensor], found: str, model: str) -> None:
    """Load ``state`` into ``network``. Only the classifiers at the places ``placed`` are loaded."""
    shapes = {
        name: tensor.shape
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
        and (not name.startswith("ics.") or int(name.split(".")[1]) in placed)
    }
    names = {upstream_name(name): name for name in shapes}
    # On maps of 4 x 4 they mix the maximum and the average over 1 x 1 pixels, which changes nothing; ours have no alpha there.
    idle = {f"layers.{index}.output.alpha" for index in placed}
    others = [name for name in state if not name.endswith("num_batches_tracked") and name not in idle]
    missing = [name for name in names if name not in state]
    unexpected = [name for name in others if name not in names]
    shaped = [name for name in names if name in state and state[name].shape != shapes[names[name]]]
    if missing or unexpected or shaped:
        details = {"missing": missing, "unexpected": unexpected, "of another shape": shaped}
        listed = ", ".join(f"{len(each)} {what} ({each[0]})" for what, each in details.items() if each)
        raise DataError(
            f"{found}: {listed}; expected those of {model}, for {network.input_shape[2]} x {network.input_shape[1]} images; choose the --model that the file is of"
        )
    network.load_state_dict({own: state[name].float() for name, own in names.items()}, strict=False)
