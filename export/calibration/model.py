"""What is evaluated: a network with its weights, costs and thresholds, and the images that attacks make of others."""

import re
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from device.errors import DataError, UsageError
from export.attacks import (
    ClassUniversalLinf,
    DeepSlothL1,
    DeepSlothL2,
    DeepSlothLinf,
    Defended,
    GreyLinf,
    UniversalLinf,
)
from export.attacks.crafting import cached, craft
from export.calibration.card import calibrate, read_card
from export.calibration.cost import ExitScores, score
from export.calibration.last_exit import ending_at, last_exits
from export.calibration.table import TableFile
from export.data.classes import check_classes
from export.data.datasets import Dataset, Images
from export.defences import Defence
from export.networks import SDN, folded
from export.networks.model_files import ModelFiles, own_table, shipped
from export.networks.weights import load_network, to_tensor

PER_SAMPLE = {"linf": DeepSlothLinf(), "l2": DeepSlothL2(), "l1": DeepSlothL1(), "grey": GreyLinf()}
UNIVERSAL = ("universal", "class-universal")
UNIVERSAL_IMAGES = 500  # calibration images that universal perturbations are learned on
DRAWS = 4  # random choices a gradient is averaged over, against randomised defences
FORMS = "clean, linf, l2, l1, grey, universal, class-universal, adaptive, adaptive:ITERATIONS, adaptive:ITERATIONS@EXIT"


class Subject(NamedTuple):
    """A trained network. ``identity``: the SHA-256 of its weights. ``thresholds``: one for each RAD in percent.
    ``last_exits``: where frames leave at the latest, from 1, if they are made to, for each RAD that it is calibrated for.
    ``table``: the one that was learned on these weights, where there is one."""

    model: str
    network: SDN
    identity: str
    costs: list[float]
    thresholds: dict[int, float]
    last_exits: Mapping[int, int] = MappingProxyType({})
    table: TableFile | None = None

    def own_table(self) -> TableFile:
        """``table``.

        Raises:
            DataError: there is none.
        """
        if self.table is None:
            raise DataError(
                f"found no table of these weights of {self.model}; expected the one that was learned on them; learn it with: "
                f"python -m export table --model {self.model}"
            )
        return self.table


def shipped_subject(model: str) -> Subject:
    """A network of models/ with its calibration and its table.

    Raises:
        DataError: one of them is absent or of another one.
    """
    files = shipped(model)
    return _subject(files, load_network(model), read_card(files), own_table(files))


def calibrated_subject(files: ModelFiles, data: Dataset) -> Subject:
    """A network with the calibration and the table that belong to it.

    Raises:
        DataError: no weights, no card or table of them, or data of other classes.
    """
    network, card, table = load_network(files.model, files.weights), read_card(files), own_table(files)
    check_classes(network, data, card["classes"])
    return _subject(files, network, card, table)


def subject_of(files: ModelFiles, data: Dataset) -> Subject:
    """The same, but calibrated here, on the calibration images, where there is no card yet, and without a table where there
    is none of these weights."""
    network = load_network(files.model, files.weights)
    card = read_card(files) if files.card.is_file() else calibrate(files, network, data)
    check_classes(network, data, card["classes"])
    try:
        table = own_table(files)
    except DataError as error:
        print(f"defences that take the network's table cannot be evaluated: {error}", file=sys.stderr)
        table = None
    return _subject(files, network, card, table)


def _subject(files: ModelFiles, network: SDN, card: dict[str, Any], table: TableFile | None) -> Subject:
    thresholds = {int(rad): float(point["threshold"]) for rad, point in card["thresholds"].items()}
    identity, costs = card["weights_sha256"], card["relative_costs"]
    return Subject(files.model, folded(network), identity, costs, thresholds, last_exits(card), table)


def scores_of(subject: Subject, images: Tensor) -> ExitScores:
    """``score``, read back where these very images were seen before: reports go on where they were stopped.

    images: float32 (n, 3, h, w) in [0, 1].
    """

    def build(_seed: int) -> Tensor:
        return torch.from_numpy(np.stack(score(subject.network, images)).astype(np.float32))

    confidences, classes = cached(f"{subject.identity} scores", images, build).numpy()
    return ExitScores(confidences, classes.astype(np.int64))


def attacked(attack: str, subject: Subject, data: Dataset, images: Images, defence: Defence) -> Tensor:
    """``images`` under ``attack``, float32 (n, 3, h, w) in [0, 1], from the cache where they were made before.

    Args:
        attack: one of FORMS. Universal forms learn on calibration images; adaptive ones know ``defence``; with an exit,
            from 1, they spend nothing on the classifiers from there on, which makes them stronger against those before.

    Raises:
        UsageError: no such attack or exit, or an adaptive attack on a defence that has no gradient.
    """
    check_attack(attack, subject, defence)
    clean = to_tensor(images.pixels)
    if attack == "clean":
        return clean
    if attack in PER_SAMPLE:
        return craft(PER_SAMPLE[attack], subject.network, subject.identity, clean)
    if attack in UNIVERSAL:
        return (clean + _universal(attack, subject, data)[torch.from_numpy(images.labels)]).clamp(0, 1)
    adaptive = _adaptive(attack)
    if adaptive.last:
        subject = up_to_exit(subject, adaptive.last)
    strong = DeepSlothLinf(iterations=adaptive.iterations)
    if defence.quantiser is None:
        return craft(strong, subject.network, subject.identity, clean)
    draws = DRAWS if defence.quantiser.random else 1
    target = Defended(subject.network, defence.quantiser, draws)
    return craft(strong, target, f"{subject.identity} behind {defence.identity} x{draws}", clean)


def check_attack(attack: str, subject: Subject, defence: Defence) -> None:
    """Say what stands against ``attacked``, which may take hours, at once.

    Raises:
        UsageError: no such attack or exit, or an adaptive attack on a defence that has no gradient.
    """
    if attack in ("clean", *PER_SAMPLE, *UNIVERSAL):
        return
    adaptive = _adaptive(attack)
    if adaptive.last:
        up_to_exit(subject, adaptive.last)
    if defence.name != "none" and defence.quantiser is None:
        raise UsageError(f"found an adaptive attack on {defence.name}; expected a defence with a gradient, as DefQ's")


class _Adaptive(NamedTuple):
    """last: the exit, from 1, from which on nothing is spent; None: the attack is on all exits."""

    iterations: int
    last: int | None


def _adaptive(attack: str) -> _Adaptive:
    found = re.fullmatch(r"adaptive(?::([1-9]\d*))?(?:@(\d+))?", attack)
    if not found:
        raise UsageError(f"found attack {attack!r}; expected one of: {FORMS}")
    return _Adaptive(int(found.group(1) or 30), int(found.group(2)) if found.group(2) else None)


def last_exit_of(subject: Subject, rad: int) -> int:
    """Where frames leave at the latest for one RAD, from 1.

    Raises:
        UsageError: the calibration knows none.
    """
    if rad not in subject.last_exits:
        raise UsageError(
            f"found a calibration of {subject.model} without a last exit for RAD {rad}; expected one; make it again with: "
            f"python -m export calibrate --model {subject.model}"
        )
    return subject.last_exits[rad]


def up_to_exit(subject: Subject, last: int) -> Subject:
    """What an attacker sees who looks at the exits before ``last`` alone, or of a network that ends there.

    Raises:
        UsageError: no such exit, or none before it.
    """
    exits = len(subject.network.ics) + 1
    if not 2 <= last <= exits:
        raise UsageError(f"found exit {last} to attack up to; expected 2 to {exits}, the exits of {subject.model}")
    if last == exits:
        return subject
    return subject._replace(network=ending_at(subject.network, last), identity=f"{subject.identity} to exit {last}")


def _universal(attack: str, subject: Subject, data: Dataset) -> Tensor:
    """The perturbation to add to an image of each class, float32 (classes, 3, h, w)."""
    learned_on = data.calibration.take(UNIVERSAL_IMAGES)
    images, labels, classes = to_tensor(learned_on.pixels), torch.from_numpy(learned_on.labels), len(data.classes)
    if attack == "universal":
        one = UniversalLinf()
        delta = cached(f"{subject.identity} {one!r}", images, lambda seed: one(subject.network, images, seed))
        return delta.expand(classes, -1, -1, -1)
    each = ClassUniversalLinf()
    return cached(
        f"{subject.identity} {each!r}",
        images,
        lambda seed: each.per_class(subject.network, images, labels, classes, seed),
    )
