"""The calibration of the attack monitor as table.json holds it, under ``monitor``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from device.defence.monitor import ExitShares, check_shares
from export.calibration.attack_record import AttackRecord
from export.calibration.json_fields import Fields


@dataclass(frozen=True, slots=True, eq=False)
class MonitorFile:
    """How often frames leave at each exit, without and with an attack, without and with DefQ.

    Args:
        shares: for each RAD in percent the share, or the number, of frames at each exit, as the file has it.
        attack: the attack behind the shares of attacked frames.
        images: number of calibration images by kind: clean, or the attack.
        weights_sha256: of the file of the weights that the shares were measured with.
    """

    shares: Mapping[int, ExitShares]
    attack: AttackRecord | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    weights_sha256: str | None = None

    def exit_shares(self, exits: int, rads: Iterable[int]) -> dict[int, ExitShares]:
        """The shares as the device's monitor takes them, each with a sum of 1.

        Args:
            exits: number of exits of the network.
            rads: those that are needed.

        Raises:
            ValueError: the shares are of another number of exits, or there are none for one of ``rads``.
        """
        for rad in rads:
            if rad not in self.shares:
                raise ValueError(f"found no shares for RAD {rad}")
        content = _shares_as_json(self.shares)
        return {rad: check_shares(content[str(rad)], exits) for rad in rads}

    def ending_at(self, last: int) -> "MonitorFile":
        """The same for a network that ends at exit ``last``, from 1: later frames leave there."""
        merged = {rad: ExitShares(*(_merged(each, last) for each in shares)) for rad, shares in self.shares.items()}
        return replace(self, shares=merged)

    def as_json(self) -> dict[str, Any]:
        content: dict[str, Any] = {"shares": _shares_as_json(self.shares)}
        if self.attack is not None:
            content["attack"] = self.attack.as_json()
        if self.images:
            content["images"] = dict(self.images)
        if self.weights_sha256 is not None:
            content["weights_sha256"] = self.weights_sha256
        return content


def _shares_as_json(shares: Mapping[int, ExitShares]) -> dict[str, dict[str, list[float]]]:
    return {str(rad): {name: each.tolist() for name, each in kinds._asdict().items()} for rad, kinds in shares.items()}


def _merged(shares: np.ndarray, last: int) -> np.ndarray:
    return np.array([*shares[: last - 1], round(sum(shares[last - 1 :].tolist()), 4)])


def monitor_from_json(fields: Fields) -> MonitorFile:
    """The calibration of the monitor that a JSON object holds.

    Raises:
        ValueError: a value is absent or not what it has to be; the message names it.
    """
    by_rad = fields.by_rad("shares")
    return MonitorFile(
        {rad: _shares(each) for rad, each in by_rad.items()},
        AttackRecord.from_json(fields.section("attack")) if "attack" in fields else None,
        fields.counts("images") if "images" in fields else {},
        fields.text("weights_sha256") if "weights_sha256" in fields else None,
    )


def _shares(fields: Fields) -> ExitShares:
    clean = fields.content.get("clean")
    exits = len(clean) if isinstance(clean, list) else 0
    shares = ExitShares(*(np.array(fields.numbers(name, exits, 0, 1e9)) for name in ExitShares._fields))
    for name, each in shares._asdict().items():
        if not each.any():
            raise ValueError(f"found no frames in {fields.place}{name}; expected a share above 0 for some exit")
    return shares
