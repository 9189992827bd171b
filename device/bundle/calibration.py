"""Reads table.json: Q_def and, where they are calibrated, the noise gate and the monitor's shares of exits."""

from typing import Any, Dict, Iterable, Optional

import numpy as np

from device.defence.defq import check_table
from device.defence.gate import Gate
from device.defence.monitor import ExitShares, check_shares
from device.errors import DataError

EXPORT_AGAIN = "export it again, as in: python -m export bundle --model mobilenet --out build/mobilenet"


def check_table_file(content: Dict[str, Any], name: str) -> np.ndarray:
    """The steps of a table.json, float32 (8, 8).

    Raises:
        DataError: no ``table`` of 8 x 8 numbers from 1 on.
    """
    try:
        return check_table(np.array(content["table"]))
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise DataError("found no usable table in {} ({}); expected \"table\": 8 rows of 8 steps; bake one, as in: "
                        "python -m export table --model mobilenet --out table.json".format(name, str(error)[:200])) from error  # fmt: skip


def check_gate(content: Dict[str, Any], rads: Iterable[int], name: str) -> Optional[Gate]:
    """The gate of a table.json; None where it has none.

    Raises:
        DataError: a level or threshold that cannot be, or no threshold for one of ``rads``.
    """
    if "gate" not in content:
        return None
    try:
        gate = _stage(content["gate"], rads)
        if "weak" in content["gate"]:
            weak = _stage(content["gate"]["weak"], rads)
            if not weak.level < gate.level:
                raise ValueError("found a weak level of {}".format(weak.level))
            gate = gate._replace(weak=weak)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, DataError) as error:
        raise DataError("found no usable gate in {} ({}: {}); expected a level from 0 on, a threshold from 0 to 1 for each "
                        "RAD and a table; calibrate it, as in: python -m export gate --model mobilenet; and {}".format(
                            name, type(error).__name__, str(error)[:200], EXPORT_AGAIN)) from error  # fmt: skip
    return gate


def _stage(content: Dict[str, Any], rads: Iterable[int]) -> Gate:
    stage = Gate(
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
    """The monitor's shares of ``exits`` exits for every RAD; empty where the file has none.

    Raises:
        DataError: numbers that are not shares, or none for one of ``rads``.
    """
    if "monitor" not in content:
        return {}
    try:
        return {rad: check_shares(content["monitor"]["shares"][str(rad)], exits) for rad in rads}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError("found no usable monitor in {} ({}: {}); expected the shares of {} exits for each RAD; calibrate it, "
                        "as in: python -m export monitor --model mobilenet; and {}".format(
                            name, type(error).__name__, str(error)[:200], exits, EXPORT_AGAIN)) from error  # fmt: skip
