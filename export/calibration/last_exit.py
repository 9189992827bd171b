"""The last exit: a frame that has not left by then leaves there, however unsure.

Shallow-Deep Networks overthink (Kaya et al. 2019): their final classifier is hardly more accurate than some exits before it,
and yet that is where a slow-down attack sends every frame. A network that ends at an earlier exit costs clean frames next to
nothing and bounds what any attacker can make of a frame, whatever they know. What the bound does not do: keep frames on
the device, or make answers right.
"""

import re
from typing import Any

import numpy as np
from torch import nn

from device.errors import DataError
from device.loop.exits import efcy
from export.calibration.cost import ExitScores, early_exit, operating_point
from export.networks import SDN

LOSS = {5: 0.011, 10: 0.009}
"""Accuracy that clean calibration images may lose to it at each RAD: what reports/README.md found to be needed there."""


def up_to(scores: ExitScores, last: int) -> ExitScores:
    """Scores of the first ``last`` exits alone: the last of them answers for every image that is left."""
    return ExitScores(scores.confidences[:last], scores.classes[:last])


def earliest_last_exit(scores: ExitScores, labels: np.ndarray, threshold: float, rad: int) -> int:
    """The first exit, from 1, at which all images may be made to leave: they lose at most LOSS of their accuracy by it.
    Not exit 1, so that a device and a host still have one each.

    Args:
        scores: of clean calibration images.
        labels: int (images,).
        threshold: that of ``rad``.
    """

    def accuracy(seen: ExitScores) -> float:
        return float((early_exit(seen, threshold)[1] == labels).mean())

    least = accuracy(scores) - LOSS[rad]
    exits = range(2, len(scores.confidences))
    return next((last for last in exits if accuracy(up_to(scores, last)) >= least), len(scores.confidences))


def last_exit_card(
    scores: ExitScores, labels: np.ndarray, costs: list[float], thresholds: dict[int, float]
) -> dict[str, Any]:
    """The key ``last_exit`` of a model card. For each RAD: the exit, what every frame costs at most, the EFCY that is left
    where no frame leaves before it, and what each threshold gives on the calibration images with it."""
    return {str(rad): _at(rad, scores, labels, costs, thresholds) for rad in thresholds}


def _at(
    rad: int, scores: ExitScores, labels: np.ndarray, costs: list[float], thresholds: dict[int, float]
) -> dict[str, Any]:
    last = earliest_last_exit(scores, labels, thresholds[rad], rad)
    seen = up_to(scores, last)
    points = {str(each): operating_point(seen, labels, costs[:last], value) for each, value in thresholds.items()}
    return {
        "exit": last,
        "relative_cost": round(costs[last - 1], 4),
        "least_efcy": round(efcy([last - 1], costs[:last]), 4),
        "thresholds": {
            each: {name: round(value, 4) for name, value in point._asdict().items()} for each, point in points.items()
        },
    }


def ending_at(network: SDN, last: int) -> SDN:
    """``network`` up to exit ``last``, from 1, whose classifier becomes the final one. The modules are shared."""
    end = nn.Sequential(network.blocks[last - 1], network.ics[last - 1])
    blocks, ics = list(network.blocks)[: last - 1], list(network.ics)[: last - 1]
    return SDN(network.stem, blocks, ics, end, network.input_shape).eval()


def last_exits(card: dict[str, Any]) -> dict[int, int]:
    """The last exit of each RAD, from 1; of none where the card was made before there was one for each."""
    return {
        int(rad): each["exit"] for rad, each in card.get("last_exit", {}).items() if re.fullmatch("[0-9]{1,2}", rad)
    }


def table_until(table: dict[str, Any], rad: int, last: int) -> dict[str, Any]:
    """A table's file for a network that ends at exit ``last`` for ``rad``: with the gate that was calibrated for that,
    where there is one, and else with the one for the whole network.

    Raises:
        DataError: ``last_exit_gates`` holds no gates.
    """
    try:
        gate = table.get("last_exit_gates", {}).get(str(rad), {})
        its_exit = gate.get("last_exit")
    except AttributeError:
        raise DataError(
            f"found no usable last_exit_gates in a table; expected a gate for RAD {rad}, or none; make it again with: "
            f"python -m export gate --model {table.get('model', 'mobilenet')} --last-exit {rad}"
        ) from None
    rest = {name: each for name, each in table.items() if name != "last_exit_gates"}
    return {**rest, "gate": gate} if its_exit == last else rest


def shortened(
    network: SDN, card: dict[str, Any], table: dict[str, Any], rad: int
) -> tuple[SDN, dict[str, Any], dict[str, Any]]:
    """A network that ends at its card's last exit for ``rad``, whose classifier becomes the final one, with the card and
    table that belong to it. Costs stay relative to the whole network.

    Raises:
        DataError: the card knows no last exit for it.
    """
    last = last_exits(card).get(rad)
    if last is None:
        raise DataError(
            f"found a calibration without a last exit for RAD {rad}; expected one; make it again with: "
            f"python -m export calibrate --model {card.get('model', 'mobilenet')}"
        )
    if last == len(card["relative_costs"]):
        return network, card, table
    card = {
        **card,
        "thresholds": card["last_exit"][str(rad)]["thresholds"],
        **{name: card[name][:last] for name in ("relative_costs", "accuracy_calibration", "accuracy_test")},
        "shares": {rad: _merged(shares, last) for rad, shares in card["shares"].items()},
    }
    table = table_until(table, rad, last)
    if "monitor" in table:
        by_rad = table["monitor"]["shares"]
        merged = {rad: {name: _merged(each, last) for name, each in kinds.items()} for rad, kinds in by_rad.items()}
        table = {**table, "monitor": {**table["monitor"], "shares": merged}}
    return ending_at(network, last), card, table


def _merged(shares: list[float], last: int) -> list[float]:
    """Shares of frames by exit, where those of later exits leave at the last one."""
    return [*shares[: last - 1], round(sum(shares[last - 1 :]), 4)]
