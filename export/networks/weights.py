"""Files of trained weights: float16 safetensors, whose names of tensors follow the attributes of SDN (networks/sdn.py) and are those
of the whole network, whichever classifiers are kept (networks/exits.py)."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from device.errors import DataError
from export.data import shipped
from export.data.output import write_output
from export.networks.exits import kept_in, tensors_of
from export.networks.sdn import SDN


def weights_file(model: str) -> Path:
    """The file of the weights of a network that comes with this repository, such as vgg16."""
    return shipped.MODELS / f"{model}.safetensors"


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
        for name, tensor in tensors_of(network).items()
        if not name.endswith("num_batches_tracked")
    }
    about = {
        "recipe": recipe,
        "data_sha256": data_sha256,
        "classes": json.dumps(list(classes)),
        "input_size": "x".join(map(str, network.input_shape[1:])),
    }
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


def trained_size(file: Path) -> tuple[int, int] | None:
    """Height and width of the images that the weights were trained on; None where the file does not say."""
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", metadata(file).get("input_size", ""))
    return (int(found[1]), int(found[2])) if found else None


def kept_exits(file: Path) -> tuple[int, ...]:
    """The numbers of the blocks, from 1, whose classifiers are in a safetensors file; empty where it cannot be read."""
    try:
        with safe_open(file, "pt") as opened:
            return kept_in(list(opened.keys()))
    except (OSError, SafetensorError):
        return ()


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
