"""Reads table.json, whole and once: Q_def and, where they are calibrated, the noise gate and the monitor's shares of exits.

The exporter writes the file (export/calibration/table_file.py). Members that are not named here are ignored.
"""

from typing import Any, Dict, Iterable, NamedTuple, Optional

import numpy as np

from device.defence.defq import check_table
from device.defence.gate import Gate, GateStage
from device.defence.monitor import ExitShares, check_shares
from device.errors import DataError

EXPORT_AGAIN = "export it again, as in: defq bundle --model mobilenet --out build/mobilenet"


class Calibration(NamedTuple):
    """What a table.json says to a device."""

    table: np.ndarray
    """Q_def, float32 (8, 8), in units of pixels 0..255."""
    gate: Optional[Gate]
    """The noise gate; None where it is not calibrated."""
    monitor: Dict[int, ExitShares]
    """Relative accuracy drop in percent -> shares of exits; empty where the monitor is not calibrated."""


def read_calibration(content: Dict[str, Any], exits: int, rads: Iterable[int], name: str) -> Calibration:
    """Check the content of a table.json.

    Args:
        content: the JSON object of the file.
        exits: number of exits of the network.
        rads: relative accuracy drops in percent that the bundle has thresholds for.
        name: of the file, for messages.

    Raises:
        DataError: something in it is not what it has to be, or is absent for one of ``rads``.
    """
    rads = sorted(rads)
    return Calibration(
        check_table_file(content, name), check_gate(content, rads, name), check_monitor(content, exits, rads, name)
    )


def check_table_file(content: Dict[str, Any], name: str) -> np.ndarray:
    """Q_def of a table.json, float32 (8, 8).

    Raises:
        DataError: there is no ``table`` of 8 x 8 numbers of at least 1.
    """
    try:
        return check_table(np.array(content["table"]))
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise DataError("found no usable table in {} ({}); expected \"table\": 8 rows of 8 steps; bake one, as in: "
                        "defq table --model mobilenet --out table.json".format(name, str(error)[:200])) from error  # fmt: skip


def check_gate(content: Dict[str, Any], rads: Iterable[int], name: str) -> Optional[Gate]:
    """The noise gate of a table.json; None where the file has no gate.

    Raises:
        DataError: a level, a threshold or a table is out of range, or there is no threshold for one of ``rads``.
    """
    if "gate" not in content:
        return None
    try:
        stages = [_stage(content["gate"], rads)]
        if "weak" in content["gate"]:
            stages.append(_stage(content["gate"]["weak"], rads))
            if not stages[1].level < stages[0].level:
                raise ValueError("found a weak level of {}".format(stages[1].level))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, DataError) as error:
        raise DataError("found no usable gate in {} ({}: {}); expected a level from 0 on, a threshold from 0 to 1 for each "
                        "RAD and a table; calibrate it, as in: defq gate --model mobilenet; and {}".format(
                            name, type(error).__name__, str(error)[:200], EXPORT_AGAIN)) from error  # fmt: skip
    return Gate(stages)


def _stage(content: Dict[str, Any], rads: Iterable[int]) -> GateStage:
    stage = GateStage(
        float(content["level"]),
        {int(rad): float(value) for rad, value in content["thresholds"].items()},
        check_table(np.array(content["table"])),
    )
    if not 0 <= stage.level < float("inf"):
        raise ValueError("found level {}".format(stage.level))
    if not all(0 <= value <= 1 for value in stage.thresholds.values()):
        raise ValueError("found thresholds {}".format(stage.thresholds))
    for rad in rads:
        if rad not in stage.thresholds:
            raise ValueError("found no threshold for RAD {}".format(rad))
    return stage


def check_monitor(content: Dict[str, Any], exits: int, rads: Iterable[int], name: str) -> Dict[int, ExitShares]:
    """The monitor's shares of ``exits`` exits for each of ``rads``; empty where the file has no monitor.

    Raises:
        DataError: the numbers are no shares of so many exits, or there are none for one of ``rads``.
    """
    if "monitor" not in content:
        return {}
    try:
        return {rad: check_shares(content["monitor"]["shares"][str(rad)], exits) for rad in rads}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError("found no usable monitor in {} ({}: {}); expected the shares of {} exits for each RAD; calibrate it, "
                        "as in: defq monitor --model mobilenet; and {}".format(
                            name, type(error).__name__, str(error)[:200], exits, EXPORT_AGAIN)) from error  # fmt: skip
