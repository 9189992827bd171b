"""Calibrates the attack monitor (device/defence/monitor.py): how often frames leave at each exit, from calibration images."""

from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from device.bundle.calibration import check_monitor
from device.defence.monitor import ExitShares
from device.loop.exits import exit_histogram
from export.calibration.attacked_images import PER_SAMPLE, SAMPLES, attacked, scores_of
from export.calibration.cost import early_exit
from export.calibration.model import CalibratedModel
from export.calibration.table import ATTACK_NAMES
from export.data.images import Dataset
from export.defences import defence_named, table_defence
from export.networks.weights import to_tensor


def calibrate_monitor(model: CalibratedModel, data: Dataset) -> dict[str, Any]:
    """The key ``monitor`` of a table's file, JSON-ready: shares of exits at every RAD.

    Args:
        model: with its table.
        data: its calibration images; the first SAMPLES of them are attacked, or taken from the cache, as for the gate.
    """
    table = model.own_table().steps
    images, few = data.calibration, data.calibration.take(SAMPLES)
    harmed = attacked("linf", model, data, few, defence_named("none"))
    kinds = {"clean": exits_of(model, table, to_tensor(images.pixels)), "attacked": exits_of(model, table, harmed)}
    shares = {
        str(rad): {
            name + ("_defq" if defq else ""): _smoothed(exits[rad][:, int(defq)], len(model.costs))
            for defq in (False, True)
            for name, exits in kinds.items()
        }
        for rad in model.thresholds
    }
    attack = PER_SAMPLE["linf"]
    return {
        "shares": shares,
        "attack": {"name": ATTACK_NAMES[type(attack).__name__], **asdict(attack)},
        "images": {"clean": len(images.labels), "linf": len(few.labels)},
        "weights_sha256": model.identity,
    }


def exits_of(model: CalibratedModel, table: np.ndarray, shown: Tensor) -> dict[int, np.ndarray]:
    """For every RAD the 0-based exits of images as a camera delivers them, int64 (n, 2): without and with DefQ."""
    defences = (defence_named("none"), table_defence("defq", table))
    scores = [scores_of(model, defence(shown)) for defence in defences]
    return {
        rad: np.stack([early_exit(each, threshold)[0] for each in scores], axis=1)
        for rad, threshold in model.thresholds.items()
    }


def _smoothed(exits: np.ndarray, count: int) -> list[float]:
    """Shares of ``count`` exits; half an image is added to each, so that none is impossible."""
    counts = exit_histogram(exits, count) + 0.5
    return [round(float(each), 6) for each in counts / counts.sum()]


def monitor_of(model: CalibratedModel) -> tuple[np.ndarray, dict[int, ExitShares]]:
    """Q_def and the shares of exits at every RAD, of the model's table.

    Raises:
        UsageError: not calibrated. DataError: calibrated on other weights, or damaged.
    """
    table = model.own_table()
    table.part("monitor", "monitor")
    return table.steps, check_monitor(table.content, len(model.costs), model.thresholds, str(table.file))
