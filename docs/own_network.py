"""An SDN of your own, from plain PyTorch modules to a bundle: python docs/own_network.py OUT_DIR

Made-up images and a few steps of training stand in for yours. docs/importing.md says what the exporter asks of a network.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository, which a script in docs/ does not see

from export.bundle.writer import BundleSettings, write_bundle
from export.calibration.card import ModelCard
from export.calibration.cost import rad_threshold, relative_costs, score
from export.networks.sdn import SDN
from export.networks.weights import to_tensor

CLASSES = ["bolt", "gear", "nut", "screw", "spring"]


def block(inputs: int, channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))


def classifier(channels: int, size: int) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(size // 4), nn.Flatten(), nn.Linear(channels * 4 * 4, len(CLASSES)))


def main(out: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # enough for a network this small
    blocks = [block(3, 8), block(8, 16), block(16, 16)]  # maps of 32 x 32, 16 x 16 and 8 x 8
    ics = [classifier(8, 32), classifier(16, 16), classifier(16, 8)]
    network = SDN(nn.Identity(), blocks, ics, end=classifier(16, 8), input_shape=(3, 64, 64))

    generator = np.random.default_rng(0)
    labels = generator.integers(0, len(CLASSES), 60)
    colours = generator.integers(60, 200, (len(CLASSES), 1, 1, 3))
    noise = generator.normal(0, 40, (60, 64, 64, 3))
    images = np.clip(colours[labels] + noise, 0, 255).astype(np.uint8)  # (n, height, width, RGB) as from a camera

    optimiser = torch.optim.Adam(network.parameters(), 0.005)
    for _ in range(30):  # with your trained weights: network.load_state_dict(torch.load(FILE, weights_only=True))
        optimiser.zero_grad()
        logits = network(to_tensor(images))  # (exits, n, classes)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(labels).repeat(len(logits)))
        torch.autograd.backward(loss)
        optimiser.step()

    scores, costs = score(network.eval(), images), relative_costs(network)
    points = {rad: rad_threshold(scores, labels, costs, rad) for rad in (5, 10)}
    card = ModelCard(tuple(CLASSES), tuple(costs), points)
    table = {"table": np.full((8, 8), 20).tolist()}  # a stand-in; export.quantization_table learns one from an attack
    write_bundle("parts", network, card, table, out, BundleSettings(split=2), images, "calibration images")
    print("it holds " + ", ".join(sorted(file.name for file in out.iterdir())))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
