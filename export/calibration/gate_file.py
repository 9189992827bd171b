"""The calibrated noise gate as table.json holds it, under ``gate`` or ``last_exit_gates``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from device.defence.gate import Gate
from device.defence.gate import GateStage as DeviceStage
from export.calibration.json_fields import Fields


@dataclass(frozen=True, slots=True, eq=False)
class GateStage:
    """One stage of the noise gate: which frames it treats, and how.

    Args:
        level: noise level from which a frame is treated, in units of pixels 0..255 (device/defence/gate.py).
        thresholds: confidence threshold of such frames, in [0, 1], for each RAD in percent.
        table: quantisation steps of such frames, (8, 8).
        clean_found, attacked_found: share of clean and of attacked calibration images that reach the level.
        attacked_accuracy: accuracy of attacked calibration images behind the gate.
    """

    level: float
    thresholds: Mapping[int, float]
    table: np.ndarray
    clean_found: float | None = None
    attacked_found: float | None = None
    attacked_accuracy: float | None = None

    def as_json(self) -> dict[str, Any]:
        shares = {name: getattr(self, name) for name in SHARES}
        return {
            "level": self.level,
            "thresholds": {str(rad): value for rad, value in self.thresholds.items()},
            "table": self.table.tolist(),
            **{name: value for name, value in shares.items() if value is not None},
        }


SHARES = ("clean_found", "attacked_found", "attacked_accuracy")


@dataclass(frozen=True, slots=True, eq=False)
class GateFile:
    """A calibrated noise gate.

    Args:
        strong: the stage for frames as noisy as DeepSloth L-inf makes them.
        weak: the stage for less noisy frames, where there is one; its level is lower.
        last_exit: the exit, from 1, at which the network ends that the gate was calibrated for; None: the whole network.
        images: number of calibration images by kind: clean, or the attack.
        weights_sha256: of the file of the weights that the gate was calibrated with.
    """

    strong: GateStage
    weak: GateStage | None = None
    last_exit: int | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    weights_sha256: str | None = None

    def gate(self) -> Gate:
        """The gate as the device runs it."""
        return Gate([_device_stage(each) for each in (self.strong, self.weak) if each is not None])

    def as_json(self) -> dict[str, Any]:
        content = self.strong.as_json()
        if self.weak is not None:
            content["weak"] = self.weak.as_json()
        if self.last_exit is not None:
            content["last_exit"] = self.last_exit
        if self.images:
            content["images"] = dict(self.images)
        if self.weights_sha256 is not None:
            content["weights_sha256"] = self.weights_sha256
        return content


def _device_stage(stage: GateStage) -> DeviceStage:
    return DeviceStage(stage.level, dict(stage.thresholds), stage.table.astype(np.float32))


def gate_from_json(fields: Fields) -> GateFile:
    """The gate that a JSON object holds.

    Raises:
        ValueError: a value is absent or not what it has to be; the message names it.
    """
    strong = _stage(fields)
    weak = _stage(fields.section("weak")) if "weak" in fields else None
    if weak is not None and not weak.level < strong.level:
        raise ValueError(f"found {fields.place}weak.level {weak.level}; expected it below {fields.place}level, {strong.level}")  # fmt: skip
    return GateFile(
        strong,
        weak,
        fields.whole("last_exit", 2) if "last_exit" in fields else None,
        fields.counts("images") if "images" in fields else {},
        fields.text("weights_sha256") if "weights_sha256" in fields else None,
    )


def _stage(fields: Fields) -> GateStage:
    thresholds = fields.section("thresholds")
    return GateStage(
        fields.number("level", 0),
        {rad: thresholds.number(key, 0, 1) for key, rad in thresholds.rads().items()},
        fields.table("table"),
        *(fields.number(name, 0, 1) if name in fields else None for name in SHARES),
    )
