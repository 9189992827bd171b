"""Files of trained weights: float16 safetensors, whose names of tensors follow the attributes of SDN (networks/sdn.py)."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from device.errors import DataError
from export.data import shipped
from export.data.output import write_output
from export.networks.find import network_spec
from export.networks.sdn import SDN
from export.networks.upstream import load_upstream


def weights_file(model: str) -> Path:
    """The file of the weights of a network that comes with this repository, such as vgg16."""
    return shipped.MODELS / f"{model}.safetensors"


def load_network(model: str, file: Path | None = None) -> SDN:
    """Build a network and load its weights as float32; in evaluation mode.

    Args:
        model: name of the network, such as vgg16.
        file: the weights; None: the shipped ones. A name that does not end in .safetensors is read as a checkpoint of the
            public SDN code (networks/upstream.py).

    Raises:
        DataError: the file is absent or damaged, or its tensors do not fit the network.
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
            f"could not load {path} into {model} ({error}); expected float16 safetensors of this network; train them with: defq train --model {model}"
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
    """Write float16 safetensors. The file is replaced only when all of it was written.

    Args:
        recipe: how the network was trained, in words; for the metadata, as the next two.
        data_sha256: of the images that it was trained and calibrated on.
        classes: names of its classes in order.

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
    """The metadata of a safetensors file, by name; empty where the file has none or is a checkpoint of another format."""
    if file.suffix != ".safetensors":
        return {}
    try:
        with safe_open(file, "pt") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError):
        return {}


def trained_classes(file: Path) -> list[str]:
    """Names of the classes that the weights were trained for, in order; empty where the file does not say."""
    try:
        names = json.loads(metadata(file).get("classes", "[]"))
    except ValueError:
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def file_sha256(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"could not read {path} ({error.strerror}); expected trained weights") from error


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Pixels, uint8 (n, height, width, 3), as images of a network, float32 (n, 3, height, width) in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)
