"""The hardened twin of a network: its folder, and what it gives under attack.

A twin folder is a model folder, so that every command takes it with ``--model``. twin.json beside the other files says which
weights it is the twin of, whether DefQ belongs before it, and what was measured to decide that.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.attacks.adaptive import Defended
from export.attacks.crafting import cached
from export.attacks.label import LabelLinf
from export.calibration.attacked_images import PER_SAMPLE, attacked, scores_of
from export.calibration.calibrate import calibrate
from export.calibration.card import write_card
from export.calibration.card_page import write_card_page
from export.calibration.cost import operating_point
from export.calibration.model import CalibratedModel, calibrated_model
from export.calibration.monitor import calibrate_monitor
from export.calibration.table import Kept, TableSettings, learn_table
from export.calibration.table_file import learned_file, write_table
from export.data.images import Dataset
from export.data.output import write_output
from export.defences import Defence, defence_named
from export.networks.loading import load_network
from export.networks.model_files import TRAINED, ModelFiles, beside, destination
from export.networks.sdn import folded

FOLDER = "twin"
"""Of a model folder: where its twin goes by default."""
FILE = "twin.json"
FORMAT, FORMAT_VERSION = "defq-twin", 1
TWIN_SAMPLES = 200
"""Calibration images that are attacked to say what the twin gives."""
LEARNED, WATCHED = 1000, 600
"""Calibration images that the table is learned on, and that the monitor's shares of attacked frames are measured on."""
CLEAN, SLOWED, LABEL = "clean", "slow-down", "label"
GAIN = 0.01
"""DefQ goes before the twin where EFCY and accuracy are better by this in the mean."""


@dataclass(frozen=True, slots=True)
class TwinRow:
    """What the twin gives on calibration images.

    Args:
        attack: CLEAN; SLOWED: DeepSloth L-inf against all exits before the last one, by an attacker who knows the twin and what
            is before it; LABEL: L-inf against the label at all exits, by the same.
        defence: none or defq.
        rad: relative accuracy drop in percent.
        efcy, accuracy: at the twin's threshold for it.
    """

    attack: str
    defence: str
    rad: int
    efcy: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class TwinFile:
    """twin.json.

    Args:
        weights_sha256: of the file of the twin's weights.
        of_sha256: of the file of the weights that it was trained on from.
        defq: whether DefQ belongs before the twin.
        images: number of calibration images behind ``rows``.
    """

    weights_sha256: str
    of_sha256: str
    defq: bool
    images: int
    rows: tuple[TwinRow, ...]

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}


def twin_files(files: ModelFiles, out: Path | None = None) -> ModelFiles:
    """The files of the twin of a model.

    Args:
        out: its folder; None: FOLDER in the model folder, or for shipped weights in build/models/NAME.
    """
    folder = out or destination(files).weights.parent / FOLDER
    code = files.description.code
    return beside(files.model, folder / TRAINED, code)


def calibrate_twin(files: ModelFiles, twin: ModelFiles, data: Dataset) -> TwinFile:
    """Write card, table, monitor and twin.json of a twin whose weights and model.json are there.

    Args:
        files: of the network that it is the twin of.

    Raises:
        DataError: the weights cannot be read. OutputError: a file cannot be written.
    """
    network = load_network(twin)
    card = calibrate(twin, network, data)
    write_card(card, twin.card)
    write_card_page(card, twin.card.with_suffix(".md"), twin)
    settings, attack = TableSettings(samples=LEARNED), PER_SAMPLE["linf"]
    learned = learn_table(folded(network), data.calibration, settings, attack, Kept(twin.sha256, twin.attacks))
    table = learned_file(learned, settings, attack, twin.model, twin.sha256)
    write_table(table, twin.table)
    model = calibrated_model(twin, data)
    write_table(replace(table, monitor=calibrate_monitor(model, data, WATCHED)), twin.table)
    count = min(TWIN_SAMPLES, len(data.calibration.labels))
    rows = measured(model, data, count)
    made = TwinFile(twin.sha256, files.sha256, needs_defq(rows), count, tuple(rows))
    write_output(twin.weights.with_name(FILE), json.dumps(made.as_json(), indent=1) + "\n")
    return made


def measured(model: CalibratedModel, data: Dataset, count: int) -> list[TwinRow]:
    """What a twin gives on the first ``count`` calibration images, without and with DefQ, at every RAD.

    Args:
        model: with its table.
    """
    images = data.calibration.take(count)
    rows = []
    for name in ("none", "defq"):
        defence = defence_named(name, model.own_table())
        shown = {
            CLEAN: attacked("clean", model, data, images, defence),
            SLOWED: attacked("adaptive", model, data, images, defence),
            LABEL: label_attacked(model, attacked("clean", model, data, images, defence), images.labels, defence),
        }
        for attack, each in shown.items():
            scores = scores_of(model, defence(each))
            for rad, threshold in model.thresholds.items():
                point = operating_point(scores, images.labels, model.costs, threshold)
                rows.append(TwinRow(attack, name, rad, round(point.efcy, 4), round(point.accuracy, 4)))
    return rows


def label_attacked(model: CalibratedModel, clean: Tensor, labels: np.ndarray, defence: Defence) -> Tensor:
    """Images whose label is attacked by someone who knows the network and the defence, read back where they were made before.

    Args:
        clean: float32 (n, c, h, w) in [0, 1].
        labels: int64 (n,).
    """
    attack = LabelLinf()
    target = Defended(model.network, defence.quantiser) if defence.quantiser else model.network
    identity = f"{model.identity} behind {defence.identity} {attack!r} {labels.tolist()}"

    def build(seed: int) -> Tensor:
        return attack(target, clean, torch.from_numpy(labels), seed)

    return cached(identity, clean, build, model.attacks)


def needs_defq(rows: list[TwinRow]) -> bool:
    """Whether a twin is better with DefQ before it: EFCY and accuracy, in the mean of clean images and of images that are slowed
    down, at all RADs."""

    def quality(defence: str) -> float:
        return float(
            np.mean([row.efcy + row.accuracy for row in rows if row.defence == defence and row.attack != LABEL])
        )

    return quality("defq") > quality("none") + GAIN


def twin_table(rows: tuple[TwinRow, ...]) -> str:
    """What was measured, as a table for the console."""
    lines = ["attack      before it  RAD   EFCY   accuracy"]
    lines += [f"{row.attack:<11} {row.defence:<9} {row.rad:>4} %  {row.efcy:.3f}  {row.accuracy:.3f}" for row in rows]
    return "\n".join(lines)
