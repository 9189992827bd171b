"""What a user chooses about a fit."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from export.calibration.json_fields import Fields

SIZES = (96, 128, 160, 224)
"""Sides of the square input in pixels."""
RAD = 5
"""The relative accuracy drop, in percent, that the bundle uses and the report is about."""


@dataclass(frozen=True, slots=True)
class FitSettings:
    """What a user chooses about a fit.

    Args:
        backbone: name of the network (export/networks).
        size: side of its square input in pixels.
        fit: how photographs and frames are brought to this size (device/pictures/fit.py).
        group: a regular expression over paths, whose groups stay in one split; "" for none.
        epochs: passes over the photographs in training; 0: as many as the network's recipe says.
        frozen: whether the internal classifiers alone are trained.
        flips: whether photographs are mirrored in training. Signs and text have a handedness.
        minutes: about how long the fit may take; 0: a time that follows from the number of photographs.
        network: a network of the user's own, as FILE.py:FUNCTION, whose name is ``backbone``; "" for one of defq's.
        backgrounds: a folder of photographs of what may lie behind, or "drawn" (export/data/backgrounds.py); "" for none.
    """

    backbone: str
    size: int
    fit: str
    group: str = ""
    epochs: int = 0
    frozen: bool = False
    flips: bool = True
    minutes: float = 0
    network: str = ""
    backgrounds: str = ""

    def options(self, defaults: "FitSettings") -> str:
        """The options of the command that differ from the defaults, for people."""
        flags = {"frozen": ("--no-freeze", "--freeze"), "flips": ("--no-flip", "--flip")}
        told = []
        for name, value in asdict(self).items():
            if value == getattr(defaults, name) or (name == "backbone" and self.network):
                continue
            told.append(flags[name][value] if name in flags else f"--{name} {shlex.quote(str(value))}")
        return " ".join(told)

    def as_json(self) -> Mapping[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> "FitSettings":
        """Raises ValueError where a value is absent or none that it can have."""
        return cls(
            fields.text("backbone"),
            fields.whole("size", 1),
            fields.text("fit"),
            fields.text("group"),
            fields.whole("epochs"),
            fields.flag("frozen"),
            fields.flag("flips"),
            fields.number("minutes", 0),
            fields.text("network") if "network" in fields else "",
            fields.text("backgrounds") if "backgrounds" in fields else "",
        )


def hash_of(value: object) -> str:
    """A hash of anything that JSON can hold: SHA-256 in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
