"""Calibrates the attack monitor (device/defence/monitor.py): measures on calibration images how often frames leave at each
exit, clean and attacked, without and with DefQ."""

import numpy as np
from torch import Tensor

from device.defence.monitor import ExitShares
from device.errors import DataError
from device.loop.exits import exit_histogram
from export.calibration.attack_record import AttackRecord
from export.calibration.attacked_images import PER_SAMPLE, SAMPLES, attacked, scores_of
from export.calibration.cost import early_exit
from export.calibration.model import CalibratedModel
from export.calibration.monitor_file import MonitorFile
from export.data.images import Dataset
from export.defences import defence_named, table_defence
from export.networks.weights import to_tensor


def calibrate_monitor(model: CalibratedModel, data: Dataset, samples: int = SAMPLES) -> MonitorFile:
    """Measure the shares of exits at every RAD.

    Args:
        model: with its table.
        data: its calibration images are used. The first ``samples`` of them are attacked, or read back where they were attacked
            before, as for the gate.
        samples: number of images to attack.

    Raises:
        DataError: the model has no table.
    """
    table = model.own_table().steps
    images, few = data.calibration, data.calibration.take(samples)
    harmed = attacked("linf", model, data, few, defence_named("none"))
    clean = exits_of(model, table, to_tensor(images.pixels))
    slowed = exits_of(model, table, harmed)
    count = len(model.costs)
    shares = {
        rad: ExitShares(
            clean=_smoothed(clean[rad][:, 0], count),
            attacked=_smoothed(slowed[rad][:, 0], count),
            clean_defq=_smoothed(clean[rad][:, 1], count),
            attacked_defq=_smoothed(slowed[rad][:, 1], count),
        )
        for rad in model.thresholds
    }
    return MonitorFile(
        shares,
        AttackRecord.of(PER_SAMPLE["linf"]),
        {"clean": len(images.labels), "linf": len(few.labels)},
        model.identity,
    )


def exits_of(model: CalibratedModel, table: np.ndarray, shown: Tensor) -> dict[int, np.ndarray]:
    """Where images leave, as a camera with 8 bits delivers them.

    Args:
        table: Q_def, (8, 8).
        shown: float32 (n, 3, h, w) in [0, 1].

    Returns:
        For each RAD the 0-based exit of every image, int64 (n, 2): without DefQ and with DefQ.
    """
    defences = (defence_named("none"), table_defence("defq", table))
    scores = [scores_of(model, defence(shown)) for defence in defences]
    return {
        rad: np.stack([early_exit(each, threshold)[0] for each in scores], axis=1)
        for rad, threshold in model.thresholds.items()
    }


def _smoothed(exits: np.ndarray, count: int) -> np.ndarray:
    """Shares of ``count`` exits, float64 (count,). Half an image is added to each exit so that no share is 0."""
    counts = exit_histogram(exits, count) + 0.5
    return np.array([round(float(each), 6) for each in counts / counts.sum()])


def monitor_of(model: CalibratedModel) -> tuple[np.ndarray, dict[int, ExitShares]]:
    """Q_def, (8, 8), and the shares of exits at every RAD, from the model's table.

    Raises:
        UsageError: the monitor is not calibrated.
        DataError: it is calibrated for another number of exits, or not for every RAD.
    """
    table = model.own_table()
    try:
        return table.steps, table.own_monitor().exit_shares(len(model.costs), model.thresholds)
    except ValueError as error:
        raise DataError(
            f"found no usable monitor in {table.file} ({error}); expected the shares of {len(model.costs)} exits for each RAD; "
            f"make it again with: defq monitor {table.option}"
        ) from error
