"""Calibrates the attack monitor (device/defence/monitor.py): how often frames leave at each exit, from calibration images."""

from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from device.bundle.calibration import check_monitor
from device.defence.monitor import ExitShares
from device.loop.exits import exit_histogram
from export.calibration.cost import early_exit
from export.calibration.model import PER_SAMPLE, Subject, attacked, scores_of
from export.calibration.table import ATTACK_NAMES
from export.data.datasets import Dataset
from export.defences import defence_named, table_defence
from export.evaluation.tables import SAMPLES
from export.networks.weights import to_tensor


def calibrate_monitor(subject: Subject, data: Dataset) -> dict[str, Any]:
    """The key ``monitor`` of a table's file, JSON-ready: shares of exits at every RAD.

    Args:
        subject: with its table.
        data: its calibration images; the first SAMPLES of them are attacked, or taken from the cache, as for the gate.
    """
    table = subject.own_table().steps
    images, few = data.calibration, data.calibration.take(SAMPLES)
    harmed = attacked("linf", subject, data, few, defence_named("none"))
    kinds = {"clean": exits_of(subject, table, to_tensor(images.pixels)), "attacked": exits_of(subject, table, harmed)}
    shares = {
        str(rad): {
            name + ("_defq" if defq else ""): _smoothed(exits[rad][:, int(defq)], len(subject.costs))
            for defq in (False, True)
            for name, exits in kinds.items()
        }
        for rad in subject.thresholds
    }
    attack = PER_SAMPLE["linf"]
    return {
        "shares": shares,
        "attack": {"name": ATTACK_NAMES[type(attack).__name__], **asdict(attack)},
        "images": {"clean": len(images.labels), "linf": len(few.labels)},
        "weights_sha256": subject.identity,
    }


def exits_of(subject: Subject, table: np.ndarray, shown: Tensor) -> dict[int, np.ndarray]:
    """For every RAD the 0-based exits of images as a camera delivers them, int64 (n, 2): without and with DefQ."""
    defences = (defence_named("none"), table_defence("defq", table))
    scores = [scores_of(subject, defence(shown)) for defence in defences]
    return {
        rad: np.stack([early_exit(each, threshold)[0] for each in scores], axis=1)
        for rad, threshold in subject.thresholds.items()
    }


def _smoothed(exits: np.ndarray, count: int) -> list[float]:
    """Shares of ``count`` exits; half an image is added to each, so that none is impossible."""
    counts = exit_histogram(exits, count) + 0.5
    return [round(float(each), 6) for each in counts / counts.sum()]


def monitor_of(subject: Subject) -> tuple[np.ndarray, dict[int, ExitShares]]:
    """Q_def and the shares of exits at every RAD, of the subject's table.

    Raises:
        UsageError: not calibrated. DataError: calibrated on other weights, or damaged.
    """
    table = subject.own_table()
    table.part("monitor", "monitor")
    return table.steps, check_monitor(table.content, len(subject.costs), subject.thresholds, str(table.file))
