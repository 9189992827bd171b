"""Calibrates the attack monitor (device/monitor.py): how often frames leave at each exit, from calibration images."""

from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from device.errors import DataError, UsageError
from device.exits import exit_histogram
from device.monitor import ExitShares
from device.table_file import check_monitor
from export.calibration import early_exit
from export.datasets import Dataset
from export.defences import defence_named, table_defence
from export.evaluation.subject import PER_SAMPLE, Subject, attacked, scores_of
from export.evaluation.tables import SAMPLES
from export.quantization_table import ATTACK_NAMES, TABLES, read_table
from export.weights import to_tensor


def calibrate_monitor(subject: Subject, data: Dataset, table: np.ndarray) -> dict[str, Any]:
    """The key ``monitor`` of a table's file, JSON-ready: shares of exits at every RAD.

    Args:
        data: its calibration images; the first SAMPLES of them are attacked, or taken from the cache, as for the gate.
        table: Q_def, (8, 8).
    """
    images, few = data.calibration, data.calibration.take(SAMPLES)
    harmed = attacked("linf", subject, data, few, defence_named("none", subject.model))
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
    defences = (defence_named("none", subject.model), table_defence("defq", table))
    scores = [scores_of(subject, defence(shown)) for defence in defences]
    return {
        rad: np.stack([early_exit(each, threshold)[0] for each in scores], axis=1)
        for rad, threshold in subject.thresholds.items()
    }


def _smoothed(exits: np.ndarray, count: int) -> list[float]:
    """Shares of ``count`` exits; half an image is added to each, so that none is impossible."""
    counts = exit_histogram(exits, count) + 0.5
    return [round(float(each), 6) for each in counts / counts.sum()]


def shipped_monitor(subject: Subject) -> tuple[np.ndarray, dict[int, ExitShares]]:
    """Q_def and the shares of exits at every RAD, of tables/.

    Raises:
        UsageError: not calibrated. DataError: calibrated on other weights, or damaged.
    """
    content = read_table(TABLES / f"{subject.model}.json")
    name, again = f"tables/{subject.model}.json", f"calibrate it with: python -m export monitor --model {subject.model}"
    if "monitor" not in content:
        raise UsageError(f"found no monitor in {name}; expected the usual shares of exits in it; {again}")
    shares = check_monitor(content, len(subject.costs), subject.thresholds, name)
    learned_on = str(content["monitor"].get("weights_sha256"))
    if learned_on != subject.identity:
        raise DataError(
            f"found a monitor of weights {learned_on[:12]} in {name}; the weights are {subject.identity[:12]}; {again}"
        )
    return np.array(content["table"]), shares
