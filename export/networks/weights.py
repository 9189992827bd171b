"""Trained weights: float16 safetensors in models/, named after the attributes of export.networks.SDN."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from device.errors import DataError
from export.data.output import write_output
from export.data.shipped import shipped_folder
from export.networks.registry import network_spec
from export.networks.sdn import SDN
from export.networks.upstream import load_upstream

MODELS = shipped_folder("models")


def weights_file(model: str) -> Path:
    """The committed weights of ``model`` (vgg16, resnet56 or mobilenet)."""
    return MODELS / f"{model}.safetensors"


def load_network(model: str, file: Path | None = None) -> SDN:
    """Build ``model`` and load its weights as float32, in evaluation mode.

    Args:
        file: .safetensors of ours; any other name is read as a checkpoint of the public SDN code (networks/upstream.py).

    Raises:
        DataError: no such file, a truncated file, or tensors that do not fit the network.
    """
    path = file or weights_file(model)
    if path.suffix != ".safetensors":
        return load_upstream(model, path)
    try:
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        # the last linear layer tells how many classes the network was trained for
        last = max((name for name in state if name.startswith("end.") and name.endswith(".weight")), default="")
        if not last:
            raise ValueError("no final classifier in it")
        network = network_spec(model).network(len(state[last]))
        missing, unexpected = network.load_state_dict(state, strict=False)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise DataError(
            f"could not load {path} into {model} ({error}); expected float16 safetensors of this network; train them with: python -m export train --model {model}"
        ) from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise DataError(
            f"found weights of another network in {path}: missing {missing[:3]}, unexpected {unexpected[:3]}; expected those of {model}"
        )
    return network.eval()


def save_network(
    network: SDN, file: Path, recipe: str = "", data_sha256: str = "", classes: Sequence[str] = ()
) -> None:
    """Write float16 safetensors, whole or not at all (a half-written file never takes the name).

    Args:
        recipe, data_sha256, classes: how and on what the network was trained, for the metadata.

    Raises:
        OutputError: the file cannot be written.
    """
    state = {
        name: tensor.detach().half().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    about = {"recipe": recipe, "data_sha256": data_sha256, "classes": json.dumps(list(classes))}
    write_output(file, save(state, {name: text for name, text in about.items() if text not in ("", "[]")}))


def metadata(file: Path) -> dict[str, str]:
    """What a file of ours says of its making; nothing where it is a checkpoint from elsewhere."""
    if file.suffix != ".safetensors":
        return {}
    try:
        with safe_open(file, "pt") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError):
        return {}


def trained_classes(file: Path) -> list[str]:
    """Names of the classes that the weights were trained for, in order; none where the file does not say."""
    try:
        names = json.loads(metadata(file).get("classes", "[]"))
    except ValueError:
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def file_sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"could not read {path} ({error.strerror}); expected trained weights") from error


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (n, height, width, 3) in 0..255 -> float32 (n, 3, height, width) in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)
