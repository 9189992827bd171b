"""A network and photographs that are small enough to be fitted in a second or two."""

import importlib
from pathlib import Path

import cv2
import numpy as np

import export.networks
from export.attacks.l2 import DeepSlothL2
from export.attacks.linf import DeepSlothLinf
from export.calibration import attacked_images, gate
from export.commands import cli
from export.commands import table as table_command

CLASSES = ("bolt", "gear", "nut")
NETWORK = """
from torch import nn
from export.networks.sdn import SDN, InternalClassifier, conv_batch_norm
from export.networks.spec import NetworkSpec, side_of

def build(classes, input_size):
    blocks, exits, inputs, side = [], [], 3, side_of(input_size, 32, 64, 128) // 8
    stem = nn.AvgPool2d(8)
    for channels in (8, 8, 12, 12):
        blocks.append(nn.Sequential(*conv_batch_norm(inputs, channels, 3), nn.ReLU()))
        inputs = channels
        exits.append(InternalClassifier(channels, side, classes))
    end = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
    return SDN(stem, blocks, exits, end, (3, *input_size))

SPEC = NetworkSpec("small", build, input_size=(96, 96), exits=5)
"""
OPTIONS = ("--size", "96", "--backbone", "small", "--epochs", "4")
QUICK = {"linf": DeepSlothLinf(iterations=2), "l2": DeepSlothL2(iterations=2)}


def prepare(folder: Path) -> None:
    """Add the network to those of the export, from a folder, and make attacks and the search of the gate short."""
    (folder / "networks").mkdir(exist_ok=True)
    (folder / "networks" / "small.py").write_text(NETWORK)
    place = str(folder / "networks")
    if place not in export.networks.__path__:
        export.networks.__path__ = [*export.networks.__path__, place]
    importlib.invalidate_caches()
    for module in (attacked_images, table_command):
        module.PER_SAMPLE = {**module.PER_SAMPLE, **QUICK}
    gate.STRONG_RANGES, gate.WEAK_RANGES = ((20, 60),), ((5, 20),)


def photographs(folder: Path, count: int = 60, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Path:
    """Pictures of a colour for each class, with noise, of 60 x 80 pixels."""
    random = np.random.default_rng(seed)
    colours = np.random.default_rng(7).integers(60, 200, (len(classes), 1, 1, 3))
    for index in range(count):
        label = index % len(classes)
        coarse = cv2.resize(random.normal(0, 40, (6, 8, 3)), (80, 60))
        pixels = np.clip(colours[label] + coarse + random.normal(0, 5, (60, 80, 3)), 0, 255).astype(np.uint8)
        file = folder / classes[label] / f"{index:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), pixels)
    return folder


def run(photographs: Path, out: Path, *options: str) -> int:
    return cli.main(["fit", str(photographs), "--out", str(out), *OPTIONS, *options])
