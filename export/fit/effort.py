"""How many photographs a fit attacks: as many as the time allows that it may take.

An attack takes 30 to 550 gradients for a photograph, and a gradient takes 2 ms to 0.3 s, by network and size. A short trial
measures this on the machine.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import autocast, nn

from export.attacks.base import slowdown_gradient
from export.calibration.attacked_images import PER_SAMPLE, Samples
from export.calibration.cost import score
from export.calibration.json_fields import Fields
from export.data.images import Dataset
from export.networks.bfloat16 import slow_depthwise_in_float32
from export.networks.sdn import SDN, folded
from export.networks.weights import to_tensor

LEAST_MINUTES, SECONDS_A_PHOTOGRAPH = 4, 1.6
"""How long a fit may take by default. 100 photographs: 7 minutes; 1,200: 36 minutes."""
LEAST_SHARE = 0.35
"""Of the time, for attacks, where training takes most of it."""
TRIAL = 16
"""Photographs of a trial, at most."""
MOST_FRAMES = 200
"""Photographs of the bundle's frame set, at most."""

LINF, SLOW = PER_SAMPLE["linf"].iterations, PER_SAMPLE["l2"].iterations
SHARES = {"linf": 0.3, "test": 0.3, "slow": 0.15, "adaptive": 0.15, "knowing": 0.1}
"""Of the time for attacks, for each kind."""
GRADIENTS = {"linf": LINF, "test": LINF, "slow": SLOW, "adaptive": 2 * LINF, "knowing": 2 * LINF}
"""For a photograph of each kind. An attacker who knows the gate or DefQ attacks it twice."""
LEAST = {"linf": 24, "test": 24, "slow": 4, "adaptive": 16, "knowing": 16}


@dataclass(frozen=True, slots=True)
class Effort:
    """How many photographs are attacked, and what was measured before they were chosen.

    Args:
        linf, slow, adaptive: calibration photographs under L-inf, under L2, and under an attacker who knows the gate.
        test: test photographs under L-inf, for the report and for the bundle's frame set.
        knowing: test photographs under an attacker who knows DefQ, for the report.
        gradient_s: seconds of one gradient of one photograph.
        train_s: seconds of one photograph in training.
        score_s: seconds of one photograph through the network.
    """

    linf: int
    slow: int
    adaptive: int
    test: int
    knowing: int
    gradient_s: float
    train_s: float
    score_s: float

    def samples(self) -> Samples:
        """Those of the gate."""
        return Samples(self.linf, self.slow, self.adaptive)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> "Effort":
        """Raises ValueError where a value is absent or none that it can have."""
        counts = (fields.whole(name) for name in ("linf", "slow", "adaptive", "test", "knowing"))
        linf, slow, adaptive, test, knowing = counts
        times = [fields.number(name, 0) for name in ("gradient_s", "train_s", "score_s")]
        return cls(linf, slow, adaptive, test, knowing, *times)


def allowed_s(photographs: int, minutes: float) -> float:
    """Seconds that a fit may take. ``minutes``: those that the user named, 0 for none."""
    return minutes * 60 if minutes else LEAST_MINUTES * 60 + SECONDS_A_PHOTOGRAPH * photographs


def chosen_effort(network: SDN, data: Dataset, epochs: int, minutes: float) -> Effort:
    """Measure how fast this machine is, and choose how many photographs are attacked.

    Args:
        network: with random weights.
        epochs: passes over the photographs in training.
        minutes: as for ``allowed_s``.
    """
    gradient_s, train_s, score_s = _measured(network, data)
    photographs = sum(len(part.labels) for part in (data.train, data.calibration, data.test))
    allowed = allowed_s(photographs, minutes)
    training = epochs * (len(data.train.labels) * train_s + len(data.calibration.labels) * score_s)
    time_for_attacks = max(LEAST_SHARE * allowed, allowed - training)

    def count(kind: str, there: int, most: int) -> int:
        affordable = int(time_for_attacks * SHARES[kind] / (GRADIENTS[kind] * gradient_s))
        return min(max(LEAST[kind], affordable), there, most)

    calibration, test, usual = len(data.calibration.labels), len(data.test.labels), Samples()
    return Effort(
        count("linf", calibration, usual.linf),
        count("slow", calibration, usual.slow),
        count("adaptive", calibration, usual.adaptive),
        count("test", test, MOST_FRAMES),
        count("knowing", test, usual.adaptive),
        gradient_s,
        train_s,
        score_s,
    )


def _measured(network: SDN, data: Dataset) -> tuple[float, float, float]:
    """Seconds for a photograph: of a gradient of an attack, of a step of training, and of the network."""
    images = data.train.take(TRIAL)
    few = to_tensor(images.pixels)
    network.eval()
    quick = folded(network)
    gradient_s = _timed(lambda: slowdown_gradient(quick, few))
    score_s = _timed(lambda: score(quick, images.pixels))
    labels = torch.from_numpy(images.labels)
    slow_depthwise_in_float32(network)
    network.train()

    def step() -> None:
        with autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits = network(few)
        losses = [nn.functional.cross_entropy(each, labels) for each in logits]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        network.zero_grad()

    bfloat16 = "AVX512" in torch.backends.cpu.get_cpu_capability()  # as training does
    train_s = _timed(step) if len(images.labels) > 1 else gradient_s  # a batch norm needs two images
    return tuple(round(each / len(few), 6) for each in (gradient_s, train_s, score_s))  # type: ignore[return-value]


def _timed(call: Callable[[], object]) -> float:
    """Seconds of the faster of two calls, after one that warms up."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times[1:])
