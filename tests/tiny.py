"""A network small enough to be committed as bundles: python -m tests.tiny writes tests/device/data/tiny_bundle, and
tests/device/data/whole_bundle with all exits on the device."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import nn

from export.attacks.l1 import DeepSlothL1
from export.attacks.l2 import DeepSlothL2
from export.attacks.linf import DeepSlothLinf, GreyLinf
from export.bundle.settings import BundleSettings
from export.bundle.writer import write_bundle
from export.calibration.card import ModelCard
from export.calibration.cost import early_exit, operating_point, relative_costs, score
from export.calibration.last_exit import LastExit, up_to
from export.calibration.model import CalibratedModel
from export.calibration.table_file import TableFile
from export.data.frames import write_frames
from export.data.images import Images
from export.networks.sdn import SDN, InternalClassifier
from export.networks.spec import NetworkSpec
from export.networks.weights import to_tensor
from export.onnx.cuts import cheapest_handover
from export.onnx.graphs import nested_head
from export.onnx.int8 import quantised_blocks
from export.onnx.parts import export_blocks
from export.onnx.scores import graph_scores

DATA = Path(__file__).parent / "device" / "data"
CLASSES = ["circle", "square", "star"]
THRESHOLDS = {5: 0.62, 10: 0.55}
TABLE = TableFile(np.add.outer(np.arange(8), np.arange(8)) * 2 + 20)
SHAPE = (3, 16, 16)
QUICK_ATTACKS = {
    "linf": DeepSlothLinf(iterations=3),
    "l2": DeepSlothL2(iterations=3),
    "l1": DeepSlothL1(iterations=3),
    "grey": GreyLinf(iterations=3),
}
"""The attacks on single images, with few steps."""


def network(side: int = SHAPE[1]) -> SDN:
    """Four blocks on square images of ``side`` pixels, three classes; random weights, scaled so that frames leave at all exits."""
    torch.manual_seed(5)

    def block(inputs: int, channels: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())

    blocks = [block(3, 4), nn.Sequential(*block(4, 6), nn.MaxPool2d(2)), block(6, 6), block(6, 6)]
    ics = [InternalClassifier(channels, size, 3) for channels, size in ((4, side), *[(6, side // 2)] * 3)]
    end = nn.Sequential(nn.AvgPool2d(side // 2), nn.Flatten(), nn.Linear(6, 3))
    tiny = SDN(nn.Identity(), blocks, ics, end, (3, side, side))
    with torch.no_grad():
        for layer in tiny.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # take the statistics of the frames as they are
        tiny.train()(to_tensor(frames(side=side)))
        for parameter in tiny.ics.parameters():
            parameter.mul_(2)
    return tiny.eval()


SPEC = NetworkSpec("tiny", lambda classes, input_size: network(), input_size=SHAPE[1:], exits=5)
"""In the place of a real network's spec: commands and training then build the tiny one."""


def frames(count: int = 60, side: int = SHAPE[1]) -> np.ndarray:
    """uint8 (n, side, side, 3): patches of colour with noise."""
    generator = np.random.default_rng(3)
    coarse = generator.integers(0, 256, (count, 4, 4, 3)).repeat(side // 4, axis=1).repeat(side // 4, axis=2)
    return np.clip(coarse + generator.normal(0, 10, coarse.shape), 0, 255).astype(np.uint8)


def card(tiny: SDN) -> ModelCard:
    """What a bundle needs of a card, with thresholds that were set rather than found."""
    costs, scores = relative_costs(tiny), score(tiny, np.zeros((1, *tiny.input_shape[1:], 3), np.uint8))
    points = {rad: operating_point(scores, np.zeros(1, int), costs, value) for rad, value in THRESHOLDS.items()}
    return ModelCard(tuple(CLASSES), tuple(costs), points)


def calibrated(
    tiny: SDN, last_exits: Mapping[int, int] = MappingProxyType({}), table: TableFile | None = None
) -> CalibratedModel:
    """The network under the name of a real one. last_exits: from 1, for each RAD."""
    found = {rad: LastExit(each, 1.0, 0.0, {}) for rad, each in last_exits.items()}
    return CalibratedModel("vgg16", tiny, replace(card(tiny), last_exits=found), table, "tiny")


def write(folder: Path, settings: BundleSettings = BundleSettings(split=2)) -> Path:  # noqa: B008 (immutable)
    tiny = network()
    images = calibration(tiny) if settings.int8 else None
    return write_bundle("tiny", tiny, card(tiny), TABLE, folder, settings, frames(), calibration=images)


def calibration(tiny: SDN) -> Images:
    """Frames with the classes of the final classifier as labels."""
    return Images(frames(), score(tiny, frames()).classes[-1])


def main() -> None:
    write(DATA / "tiny_bundle")
    write(DATA / "whole_bundle", BundleSettings(split=None))
    tiny, pixels = network(), frames()
    scores = score(tiny, pixels)
    exits, labels = early_exit(scores, 0.62)
    print("exits", np.bincount(exits, minlength=5))
    write_frames(DATA / "frames.npz", pixels, labels)
    confidences = scores.confidences[exits, np.arange(len(exits))]
    np.savez(DATA / "expected.npz", exit=exits + 1, label=labels, confidence=confidences)
    write_int8("int8", tiny)
    write_int8("int8_narrow", narrow_network())


def narrow_network() -> SDN:
    """A network whose first block hands over less than its last convolution reads, so that it stays float32 in 8 bits."""
    torch.manual_seed(5)
    blocks = [
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1)),
        nn.Sequential(nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1)),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
    ]
    ics = [InternalClassifier(4, size, 3) for size in (16, 8, 8)]
    end = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(4, 3))
    made = SDN(nn.Identity(), blocks, ics, end, SHAPE)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
        ics[0].fc.weight.mul_(3)
    return made.eval()


def write_int8(name: str, network: SDN) -> None:
    """A head in 8 bits as a bundle has it, and what it answers."""
    pixels, split = frames(), 2
    quantised = quantised_blocks(export_blocks(network), SHAPE, to_tensor(pixels).numpy())
    handover = cheapest_handover(quantised, split)
    head = nested_head(handover.exported, split, SHAPE, 0.62, handover.cuts)
    (DATA / f"{name}_head.onnx").write_bytes(head.SerializeToString())
    scores = graph_scores(quantised, SHAPE, pixels)
    exits, labels = early_exit(up_to(scores, split), 0.62)
    confidences = scores.confidences[exits, np.arange(len(exits))]
    stays = confidences < 0.62
    np.savez(DATA / f"{name}_expected.npz", exit=np.where(stays, 0, exits + 1), label=labels, confidence=confidences)


if __name__ == "__main__":
    main()
