"""Images under an attack that is given by its name, and the scores of images.

Crafting takes minutes to hours. Images and scores that were made before are read back from the cache
(export/attacks/crafting.py).
"""

import re
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from device.errors import UsageError
from export.attacks.adaptive import Defended
from export.attacks.crafting import cached, craft
from export.attacks.l1 import DeepSlothL1
from export.attacks.l2 import DeepSlothL2
from export.attacks.linf import DeepSlothLinf, GreyLinf
from export.attacks.universal import ClassUniversalLinf, UniversalLinf
from export.calibration.cost import ExitScores, score
from export.calibration.model import CalibratedModel
from export.data.images import Dataset, Images
from export.defences import Defence
from export.networks.weights import to_tensor

PER_SAMPLE = {"linf": DeepSlothLinf(), "l2": DeepSlothL2(), "l1": DeepSlothL1(), "grey": GreyLinf()}
UNIVERSAL = ("universal", "class-universal")
UNIVERSAL_IMAGES = 500  # number of calibration images that a universal perturbation is learned on
DRAWS = 4  # number of random choices that a gradient is averaged over, against a randomised defence
FORMS = "clean, linf, l2, l1, grey, universal, class-universal, adaptive, adaptive:ITERATIONS, adaptive:ITERATIONS@EXIT"
SAMPLES, SLOW_SAMPLES, ADAPTIVE_SAMPLES = 600, 50, 200
"""Number of calibration images that are attacked with L-inf, with L2 or L1, which take 18 and 8 times as long, and by someone
who knows the defence."""


class Samples(NamedTuple):
    """How many calibration images are attacked, where there are so many: with L-inf, with L2, and by someone who knows the
    defence."""

    linf: int = SAMPLES
    slow: int = SLOW_SAMPLES
    adaptive: int = ADAPTIVE_SAMPLES


def scores_of(model: CalibratedModel, images: Tensor) -> ExitScores:
    """``cost.score``, read back where the same images were scored before, so that a report that was stopped can go on.

    Args:
        images: float32 (n, 3, h, w) in [0, 1].
    """

    def build(_seed: int) -> Tensor:
        return torch.from_numpy(np.stack(score(model.network, images)).astype(np.float32))

    confidences, classes = cached(f"{model.identity} scores", images, build, model.attacks).numpy()
    return ExitScores(confidences, classes.astype(np.int64))


def attacked(attack: str, model: CalibratedModel, data: Dataset, images: Images, defence: Defence) -> Tensor:
    """``images`` under an attack, read back where they were attacked before.

    Args:
        attack: one of FORMS. Universal attacks learn on calibration images. Adaptive attacks know ``defence``. An adaptive
            attack with an exit, from 1, leaves out the classifiers from this exit on, which makes it stronger against the
            classifiers before it.
        data: its calibration images are learned on.
        images: those to attack.

    Returns:
        float32 (n, 3, h, w) in [0, 1].

    Raises:
        UsageError: there is no such attack or exit, or the attack is adaptive and the defence has no gradient.
    """
    check_attack(attack, model, defence)
    clean = to_tensor(images.pixels)
    if attack == "clean":
        return clean
    if attack in PER_SAMPLE:
        return craft(PER_SAMPLE[attack], model.network, model.identity, clean, model.attacks)
    if attack in UNIVERSAL:
        return (clean + _universal(attack, model, data)[torch.from_numpy(images.labels)]).clamp(0, 1)
    adaptive = _adaptive(attack)
    if adaptive.last:
        model = model.up_to_exit(adaptive.last)
    strong = DeepSlothLinf(iterations=adaptive.iterations)
    if defence.quantiser is None:
        return craft(strong, model.network, model.identity, clean, model.attacks)
    draws = DRAWS if defence.quantiser.random else 1
    target = Defended(model.network, defence.quantiser, draws)
    return craft(strong, target, f"{model.identity} behind {defence.identity} x{draws}", clean, model.attacks)


def check_attack(attack: str, model: CalibratedModel, defence: Defence) -> None:
    """Check the arguments of ``attacked`` before any work is done, because crafting may take hours.

    Raises:
        UsageError: there is no such attack or exit, or the attack is adaptive and the defence has no gradient.
    """
    if attack in ("clean", *PER_SAMPLE, *UNIVERSAL):
        return
    adaptive = _adaptive(attack)
    if adaptive.last:
        model.up_to_exit(adaptive.last)
    if defence.name != "none" and defence.quantiser is None:
        raise UsageError(f"found an adaptive attack on {defence.name}; expected a defence with a gradient, as DefQ's")


class _Adaptive(NamedTuple):
    """An adaptive attack. last: the exit, from 1, from which on classifiers are left out; None: all are attacked."""

    iterations: int
    last: int | None


def _adaptive(attack: str) -> _Adaptive:
    found = re.fullmatch(r"adaptive(?::([1-9]\d*))?(?:@(\d+))?", attack)
    if not found:
        raise UsageError(f"found attack {attack!r}; expected one of: {FORMS}")
    return _Adaptive(int(found.group(1) or 30), int(found.group(2)) if found.group(2) else None)


def _universal(attack: str, model: CalibratedModel, data: Dataset) -> Tensor:
    """The perturbation to add to an image of each class, float32 (classes, 3, h, w)."""
    learned_on = data.calibration.take(UNIVERSAL_IMAGES)
    images, labels, classes = to_tensor(learned_on.pixels), torch.from_numpy(learned_on.labels), len(data.classes)
    if attack == "universal":
        one = UniversalLinf()
        delta = cached(
            f"{model.identity} {one!r}", images, lambda seed: one(model.network, images, seed), model.attacks
        )
        return delta.expand(classes, -1, -1, -1)
    each = ClassUniversalLinf()
    return cached(
        f"{model.identity} {each!r}",
        images,
        lambda seed: each.per_class(model.network, images, labels, classes, seed),
        model.attacks,
    )
